// SPDX-License-Identifier: Apache-2.0
// stream_runs: how the stream kernel cuts the cached pages of a step's rows into runs, which are units of attention.
// Who calls: stream (what it feeds), stream_attention, stream_merge.
// Work:      a row's pages with older positions are cut into at most `splits` runs for each KV head.
// Bound:     none of its own.
// Launch:    that of stream.
// Reference: none of its own. Where a row is cut follows from its own length, never from the rows beside it.
// Source:    Flash-Decoding (split over tokens).
#pragma once

#include "kernels/gpu/stream_words.h"

namespace unimax::UM_PORT_NAMESPACE {

// A run of pages. `base` counts the runs of the rows before: with head and run it numbers the run of the step.
struct StreamRun {
  int row = 0, head = 0, run = 0, runs = 1, base = 0;
  int position = 0;            // of the newest token
  int first = 0, pages = 0;    // pages of the sequence that hold older positions of this run
  int start = 0;               // first position that the query sees
  const int* table = nullptr;  // the row's pages
};

// The runs of row `row`: fills all but head, run, first and pages. Returns its pages with older positions.
UM_DEVICE int RunsOfRow(const StreamArgs& a, const StreamStage& s, int row, StreamRun& r) {
  r.row = row;
  r.position = a.positions[row];
  r.table = a.page_table + static_cast<int64_t>(a.sequences[row]) * a.max_pages;
  const int hidden = s.window > 0 && r.position + 1 > s.window ? r.position + 1 - s.window : 0;
  r.start = hidden;
  r.first = hidden / kStreamPageTokens;
  const int pages = (r.position + kStreamPageTokens - 1) / kStreamPageTokens - r.first;
  r.runs = pages < a.splits ? (pages < 1 ? 1 : pages) : a.splits;
  return pages > 0 ? pages : 0;
}
// Run number `unit` of the step; false where there are not so many.
UM_DEVICE bool FindRun(const StreamArgs& a, const StreamStage& s, int unit, StreamRun& r) {
  r.base = 0;
#pragma unroll 1
  for (int row = 0; row < a.m; ++row) {
    const int pages = RunsOfRow(a, s, row, r), runs = a.kv_heads * r.runs;
    if (unit < r.base + runs) {
      r.head = (unit - r.base) / r.runs;
      r.run = (unit - r.base) % r.runs;
      const int begin = pages * r.run / r.runs;
      r.pages = pages * (r.run + 1) / r.runs - begin;
      r.first += begin;
      return true;
    }
    r.base += runs;
  }
  return false;
}
UM_DEVICE int64_t PageAt(const StreamArgs& a, const StreamRun& r, int page) {
  return (static_cast<int64_t>(r.table[r.first + page]) * a.kv_heads + r.head) * (kStreamPageTokens * a.head_dim);
}

}  // namespace unimax::UM_PORT_NAMESPACE
