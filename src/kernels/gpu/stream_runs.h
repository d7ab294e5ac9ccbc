// SPDX-License-Identifier: Apache-2.0
// stream_runs: how the stream kernel cuts the cached pages of a step's rows into runs, which are units of attention,
//            and how a run goes through a block.
// Who calls: stream (what it feeds), stream_ask, stream_attention, stream_merge.
// Work:      a row's pages with older positions are cut into at most `splits` runs for each KV head. The feeder notes a
//            run; a group beside it brings its query; the readers count its pages, each group as far as it has come;
//            another group tells their sums. So no group waits for another between two runs.
// Bound:     none of its own.
// Launch:    that of stream.
// Reference: none of its own. Where a row is cut follows from its own length, never from the rows beside it.
// Source:    Flash-Decoding (split over tokens).
#pragma once

#include "kernels/gpu/stream_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// Pages that a run has at least, where its row has them: groups take pages side by side, so fewer take as long.
inline constexpr int kStreamLeastPages = kStreamGroups;

enum class StreamRunKind : int {
  kOlder,   // pages of older positions
  kNewest,  // the same, and the newest position
  kEnd,     // no run: the block has no more of this stage
  kQuit,    // nor of any other
};

// A run of pages as the feeder notes it.
struct alignas(16) StreamRun {
  StreamRunKind kind;
  int unit;  // of the stage
  int stage;
  int opened;  // stages of attention before this one
  int row, head;
  int runs;          // of the row and KV head
  int lead;          // the group that takes the first page
  int position;      // of the newest token
  int first, pages;  // pages of the sequence that hold older positions of this run
  int start;         // first position that the query sees
};
static_assert(sizeof(StreamRun) == StreamLayout::kRunBytes);

// A row: its pages with older positions that the query sees, and how many runs they are for each KV head. `base` counts
// the runs of the rows before it.
struct StreamRow {
  int row = -1, base = 0, runs = 0, position = 0, first = 0, pages = 0, start = 0;
};
UM_DEVICE void NextRow(const StreamArgs& a, const StreamStage& s, StreamRow& w) {
  w.base += a.kv_heads * w.runs;
  w.position = a.rows[++w.row].position;
  w.start = s.window > 0 && w.position + 1 > s.window ? w.position + 1 - s.window : 0;
  w.first = w.start / kStreamPageTokens;
  w.pages = (w.position + kStreamPageTokens - 1) / kStreamPageTokens - w.first;
  if (w.pages < 0) w.pages = 0;
  const int runs = (w.pages + kStreamLeastPages - 1) / kStreamLeastPages;
  w.runs = runs < a.splits ? (runs < 1 ? 1 : runs) : a.splits;
}
// How many runs a step has.
UM_DEVICE int RunsOf(const StreamArgs& a, const StreamStage& s) {
  StreamRow w;
  while (w.row + 1 < a.m) NextRow(a, s, w);
  return w.base + a.kv_heads * w.runs;
}
// Run number `unit` of the step; false where there are not so many. `w` is the row of a unit before it, or none.
UM_DEVICE bool FindRun(const StreamArgs& a, const StreamStage& s, int unit, StreamRow& w, StreamRun& r) {
  while (unit >= w.base + a.kv_heads * w.runs) {
    if (w.row + 1 >= a.m) return false;
    NextRow(a, s, w);
  }
  const int at = unit - w.base, run = at % w.runs;
  const int begin = w.pages * run / w.runs, end = w.pages * (run + 1) / w.runs;
  r.kind = run + 1 == w.runs ? StreamRunKind::kNewest : StreamRunKind::kOlder;
  r.unit = unit;
  r.row = w.row;
  r.head = at / w.runs;
  r.runs = w.runs;
  r.lead = (run + r.head) * (kStreamGroups / 2);  // short runs keep all groups busy in turn
  r.position = w.position;
  r.first = w.first + begin;
  r.pages = end - begin;
  r.start = w.start;
  return true;
}
UM_DEVICE int64_t PageAt(const StreamArgs& a, const StreamRun& r, int page) {
  const int* table = a.page_table + static_cast<int64_t>(a.rows[r.row].sequence) * a.max_pages;
  return (static_cast<int64_t>(table[page]) * a.kv_heads + r.head) * (kStreamPageTokens * a.head_dim);
}

// ---- a run's way: noted (feeder), asked (its query is there), left (by each reader), done (its sums are told) ----
UM_DEVICE int RunPlace(int run) { return run % StreamLayout::kRunsAhead; }
UM_DEVICE int RunTurn(int run) { return run / StreamLayout::kRunsAhead & 1; }
UM_DEVICE const StreamRun& RunAt(int run) {
  return SharedObject<StreamRun>(StreamLayout::kRuns + RunPlace(run) * StreamLayout::kRunBytes);
}
UM_DEVICE void NoteRun(const StreamRun& r, int run) {
  const int notes = StreamLayout::kRuns + RunPlace(run) * StreamLayout::kRunBytes;
  RingWaitFree(StreamLayout::kRunBars, RunPlace(run), RunTurn(run));
  const int kind = static_cast<int>(r.kind);
  const int values[] = {kind,   r.unit, r.stage,    r.opened, r.row,   r.head,
                        r.runs, r.lead, r.position, r.first,  r.pages, r.start};
#pragma unroll
  for (int i = 0; i < StreamLayout::kRunBytes / 4; ++i) RingNote(notes, i, values[i]);
  RingExpect(StreamLayout::kRunBars, RunPlace(run), 0);
}
UM_DEVICE const StreamRun& AwaitNoted(int run) {
  RingWaitFull(StreamLayout::kRunBars, RunPlace(run), RunTurn(run));
  return RunAt(run);
}
// One lane, when all are done.
UM_DEVICE void TellAsked(int run) { RingExpect(StreamLayout::kAskBars, RunPlace(run), 0); }
UM_DEVICE const StreamRun& AwaitAsked(int run) {
  RingWaitFull(StreamLayout::kAskBars, RunPlace(run), RunTurn(run));
  return RunAt(run);
}
UM_DEVICE void TellLeft(int run) { RingRelease(StreamLayout::kAskBars, RunPlace(run)); }
UM_DEVICE void AwaitLeft(int run) { RingWaitFree(StreamLayout::kAskBars, RunPlace(run), RunTurn(run) ^ 1); }
UM_DEVICE void TellDone(int run) { RingRelease(StreamLayout::kRunBars, RunPlace(run)); }
UM_DEVICE void AwaitDone(int run) {
  if (run >= 0) RingWaitFree(StreamLayout::kRunBars, RunPlace(run), RunTurn(run) ^ 1);
}
// The readers are done with x: attention's own memory may be written.
UM_DEVICE void TellOpened() { RingExpect(StreamLayout::kAskBars, StreamLayout::kRunsAhead, 0); }
UM_DEVICE void AwaitOpened(const StreamRun& r) {
  RingWaitFull(StreamLayout::kAskBars, StreamLayout::kRunsAhead, r.opened & 1);
}
UM_DEVICE const StreamStage& StageOf(const StreamRun& r) {
  return SharedObject<StreamStage>(StreamLayout::kStages + r.stage % 2 * StreamLayout::kStageBytes);
}

}  // namespace unimax::UM_PORT_NAMESPACE
