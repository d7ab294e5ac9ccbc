// SPDX-License-Identifier: Apache-2.0
// Measures the rows of the kernel table that fit a case against each other: what `unimax tune` does for each case.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/device.h"
#include "kernels/plan_table.h"
#include "kernels/tune_data.h"

namespace unimax {

// Who hears which row is being tried and knows which must not be, since the process did not outlive it before. Either
// may be empty.
struct TuneWatch {
  std::function<std::string(const Row&)> why_not = {};  // "": it may be tried
  // Before anything of the row runs on the device; null when it has come back. Where an error is returned in between,
  // the device did not outlive the row.
  std::function<void(const Row*)> trying = {};
};

struct TuneOptions {
  int repeats = 11;  // timed passes; their median counts
  // Weights, keys and values come from memory: rotated over more bytes than the L2 holds. False where there is no cache
  // to speak of, and time is the host's: the emulator.
  bool cold = true;
  // As the graph executor launches: a kernel may fetch weights while the one before it ends.
  bool overlap = true;
  TuneWatch watch = {};
};

// `repeats` of 0: as above, or 1 on the emulator.
TuneOptions TuneOptionsFor(const Limits& limits, int repeats);

struct TunedRow {
  const Row* row = nullptr;
  double microseconds = 0;   // a launch, by the device's clock, of launches replayed as a graph
  double error = 0;          // against the reference, as CheckResult::error
  std::string dropped = {};  // why it is not taken; "": it may be
};

// The median time of what `record` enqueues `launches` times, by replays that take turns: one for each of several ways.
class TurnTimer {
 public:
  // `warm`: replays before those that are timed.
  TurnTimer(Device& device, bool flush, int warm) : device_(device), flush_(flush), warm_(warm) {}
  // A way: `enqueue(i)` is recorded for launch 0 .. launches - 1.
  Status Add(int launches, const std::function<Status(int i)>& enqueue);
  // Microseconds a launch of each way, in the order of Add.
  // `turn` hears the number of the way before each replay, and -1 after it; may be null.
  Result<std::vector<double>> Run(int repeats, const std::function<void(int way)>& turn = nullptr);

 private:
  Status Flush();
  Device& device_;
  // Something else is read before each replay: several L2s full, so that the first launches find nothing of before, and
  // so that the device is still busy when it is told of the replay.
  bool flush_;
  Buffer other_, sink_;
  int warm_, launches_ = 1;
  std::vector<std::unique_ptr<Graph>> graphs_;
};

// How often a case is launched in a replay and over how many sets, so that each finds its set out of the cache.
struct TurnShape {
  int launches = 1, sets = 1;
  bool flush = false;
};
// No sets at all where one does not fit the device's free memory.
TurnShape TurnShapeOf(const Case& c, const Limits& limits, const TuneOptions& options);

// Runs each of `rows` (in the order of the table, all of which fit) once and compares it with the reference. A row that
// fails or differs is dropped with the reason. Errors: of the device, when it does not work any more.
Result<std::vector<TunedRow>> CheckRows(Device& device, std::span<const Row* const> rows, TuneData& data,
                                        const TuneWatch& watch = {});
// The same, then times those that were right in turns.
Result<std::vector<TunedRow>> MeasureRows(Device& device, const Case& c, std::span<const Row* const> rows,
                                          const TuneOptions& options);

// The winner and the runner-up. The first of the rows in the table's order stays where none is faster by kTuneMargin,
// so that chance does not choose. Errors: kInternal where no row was right.
inline constexpr double kTuneMargin = 0.02;
Result<PlanEntry> ChooseRow(const Case& c, std::span<const TunedRow> rows);

}  // namespace unimax
