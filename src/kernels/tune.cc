// SPDX-License-Identifier: Apache-2.0
#include "kernels/tune.h"

#include <algorithm>
#include <cmath>

#include "kernels/args.h"

namespace unimax {
namespace {

constexpr int kLeastLaunches = 8;  // of a replay, so that the resolution of the device's clock does not matter
constexpr int kMostLaunches = 32;
constexpr int kWarmReplays = 2;             // before those that are timed
constexpr double kHopeless = 3;             // a way that takes so many times as long as the best one is timed once
constexpr double kHiddenCache = 256 << 20;  // behind the L2 of AMD's large GPUs: no driver tells it
constexpr double kCaches = 3;               // bytes between two uses of a set, in L2s
constexpr double kMemoryShare = 0.6;        // of what is free

// What is read between two uses of a set.
double ColdBytes(const Limits& limits) {
  const auto l2 = static_cast<double>(limits.l2_bytes);
  return limits.target.starts_with("gfx") ? std::max(kCaches * l2, 2 * kHiddenCache) : kCaches * l2;
}

double Norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum) / std::max(Norm(b), 1e-30);
}

// Whether the device still works: a fault of a kernel is told here at the latest.
Status Alive(Device& device) {
  UM_RETURN_IF_ERROR(device.Synchronize());
  UM_ASSIGN_OR_RETURN(const Buffer buffer, device.Allocate(16, "probe"));
  UM_RETURN_IF_ERROR(device.Fill(buffer.data(), 0, 16));
  return device.Synchronize();
}

// Compares rows with the reference at some elements, and with the first row that was right at all of them.
class Judge {
 public:
  Judge(TuneData& data, const TuneWatch& watch) : data_(data), watch_(watch) {}

  Status Begin() {
    UM_ASSIGN_OR_RETURN(sample_, data_.Reference());
    return Norm(sample_.values) > 0 ? Status() : Internal("the reference is zero: nothing can be compared");
  }

  // Sets the row's error and, where it is wrong, why it is dropped. Errors: of the device.
  Status Look(Device& device, TunedRow* row) {
    if (watch_.why_not) row->dropped = watch_.why_not(*row->row);
    if (!row->dropped.empty()) return {};
    UM_RETURN_IF_ERROR(data_.Reset());
    UM_RETURN_IF_ERROR(Try(device, row));
    return row->dropped.empty() ? Compare(row) : Status();
  }

 private:
  // Runs the row once. Errors: the device did not outlive it.
  Status Try(Device& device, TunedRow* row) {
    if (watch_.trying) watch_.trying(row->row);
    Status ran = Launch(device, *row->row);
    if (ran.ok()) ran = device.Synchronize();
    if (!ran.ok()) {
      row->dropped = ran.text();
      UM_RETURN_IF_ERROR(Alive(device));
    }
    if (watch_.trying) watch_.trying(nullptr);
    return {};
  }

  Status Compare(TunedRow* row) {
    UM_ASSIGN_OR_RETURN(std::vector<double> y, data_.Output());
    if (!std::ranges::all_of(y, [](double v) { return std::isfinite(v); })) {
      row->error = INFINITY;
      row->dropped = "an output was not written, or is not finite";
      return {};
    }
    std::vector<double> sampled;
    for (const size_t at : sample_.at) sampled.push_back(y[at]);
    row->error = Distance(sampled, sample_.values);
    // Two rows that are right differ by the errors of both.
    const double apart = right_.empty() ? 0 : Distance(y, right_);
    const double tolerance = static_cast<double>(row->row->tolerance);
    if (row->error > tolerance) {
      row->dropped = fmt::format("differs from the reference by {:.3g}, more than {:.3g}", row->error, tolerance);
    } else if (apart > 2 * tolerance) {
      row->dropped = fmt::format("differs from the row before it by {:.3g}, more than {:.3g}", apart, 2 * tolerance);
    } else if (right_.empty()) {
      right_ = std::move(y);
    }
    return {};
  }

  Status Launch(Device& device, const Row& row) {
    UM_ASSIGN_OR_RETURN(const unimax::Launch launch, data_.LaunchOn(row, 0));
    return device.Run(launch);
  }

  TuneData& data_;
  const TuneWatch& watch_;
  TuneSample sample_;
  std::vector<double> right_;  // the whole output of the first row that was right
};

}  // namespace

TuneOptions TuneOptionsFor(const Limits& limits, int repeats) {
  TuneOptions options;
  options.cold = !limits.target.starts_with("emulator");
  if (!options.cold) options.repeats = 1;
  if (repeats > 0) options.repeats = repeats;
  return options;
}

Status TurnTimer::Add(int launches, const std::function<Status(int i)>& enqueue) {
  launches_ = launches;
  UM_ASSIGN_OR_RETURN(std::unique_ptr<Graph> graph, device_.Capture([&]() -> Status {
    for (int i = 0; i < launches; ++i) UM_RETURN_IF_ERROR(enqueue(i));
    return {};
  }));
  graphs_.push_back(std::move(graph));
  return {};
}

Status TurnTimer::Flush() {
  if (!flush_) return {};
  const double room = static_cast<double>(device_.limits().free_bytes) / 8;
  const int64_t words = static_cast<int64_t>(std::min(ColdBytes(device_.limits()), room)) / 16;
  if (other_.bytes() == 0) {
    UM_ASSIGN_OR_RETURN(other_, device_.Allocate(static_cast<size_t>(words) * 16, "what fills the caches"));
    UM_ASSIGN_OR_RETURN(sink_, device_.Allocate(16, "sum of what fills the caches"));
  }
  UM_ASSIGN_OR_RETURN(const Kernel read, device_.FindKernel("read_rate"));
  Launch launch = Launch::Of(read, ReadRateArgs{other_.data(), reinterpret_cast<unsigned*>(sink_.data()), words, 1});
  launch.grid_x = device_.limits().multiprocessors * 4;
  launch.threads = 512;
  return device_.Run(launch);
}

Result<std::vector<double>> TurnTimer::Run(int repeats, const std::function<void(int way)>& turn) {
  std::vector<std::vector<double>> times(graphs_.size());
  std::vector<double> first(graphs_.size(), 0);  // of the last replay that warms up
  for (int pass = -warm_; pass < repeats; ++pass) {
    const double limit = pass > 0 && warm_ > 0 ? kHopeless * *std::ranges::min_element(first) : INFINITY;
    for (size_t way = 0; way < graphs_.size(); ++way) {
      if (first[way] > limit) continue;
      if (turn) turn(static_cast<int>(way));
      UM_RETURN_IF_ERROR(Flush());
      UM_RETURN_IF_ERROR(device_.Mark(0));
      UM_RETURN_IF_ERROR(device_.Run(*graphs_[way]));
      UM_RETURN_IF_ERROR(device_.Mark(1));
      UM_ASSIGN_OR_RETURN(const double ms, device_.Milliseconds(0, 1));
      if (turn) turn(-1);
      if (pass >= 0) times[way].push_back(ms * 1e3 / launches_);
      if (pass == -1) first[way] = ms;
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& of : times) {
    std::ranges::nth_element(of, of.begin() + static_cast<int64_t>(of.size()) / 2);
    medians.push_back(of[of.size() / 2]);
  }
  return medians;
}

TurnShape TurnShapeOf(const Case& c, const Limits& limits, const TuneOptions& options) {
  const double bytes = TuneData::SetBytes(c), free = static_cast<double>(limits.free_bytes) * kMemoryShare;
  if (bytes > free) return {0, 0, false};
  if (!options.cold) return {1, 1, false};
  const double wanted = std::ceil(ColdBytes(limits) / bytes) + 1;
  TurnShape shape;
  shape.launches = static_cast<int>(std::clamp(wanted, 1.0 * kLeastLaunches, 1.0 * kMostLaunches));
  shape.sets = static_cast<int>(std::clamp(std::min(wanted, free / bytes), 1.0, 1.0 * shape.launches));
  // Launches that find their own set of before in the cache would be too fast.
  if (shape.sets < wanted) shape.launches = shape.sets;
  shape.flush = true;
  return shape;
}

Result<std::vector<TunedRow>> CheckRows(Device& device, std::span<const Row* const> rows, TuneData& data,
                                        const TuneWatch& watch) {
  Judge judge(data, watch);
  UM_RETURN_IF_ERROR(judge.Begin());
  std::vector<TunedRow> checked;
  for (const Row* row : rows) {
    UM_RETURN_IF_ERROR(judge.Look(device, &checked.emplace_back(TunedRow{row, 0, 0, ""})));
  }
  return checked;
}

Result<std::vector<TunedRow>> MeasureRows(Device& device, const Case& c, std::span<const Row* const> rows,
                                          const TuneOptions& options) {
  const TurnShape shape = TurnShapeOf(c, device.limits(), options);
  if (shape.sets == 0) {
    return NoDevice("{:.1f} GB of data do not fit the free memory of {}", TuneData::SetBytes(c) * 1e-9,
                    device.limits().name);
  }
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<TuneData> data, TuneData::Make(device, c, shape.sets, 1));
  UM_ASSIGN_OR_RETURN(std::vector<TunedRow> tuned, CheckRows(device, rows, *data, options.watch));
  TurnTimer timer(device, shape.flush, options.cold ? kWarmReplays : 0);
  std::vector<TunedRow*> right;
  for (TunedRow& row : tuned) {
    if (!row.dropped.empty()) continue;
    UM_RETURN_IF_ERROR(timer.Add(shape.launches, [&](int i) -> Status {
      UM_ASSIGN_OR_RETURN(Launch launch, data->LaunchOn(*row.row, i % shape.sets));
      launch.overlap = options.overlap && i > 0;
      return device.Run(launch);
    }));
    right.push_back(&row);
  }
  const auto turn = [&](int way) {
    if (options.watch.trying) options.watch.trying(way < 0 ? nullptr : right[static_cast<size_t>(way)]->row);
  };
  UM_ASSIGN_OR_RETURN(const std::vector<double> times, timer.Run(options.repeats, turn));
  for (size_t i = 0; i < right.size(); ++i) right[i]->microseconds = times[i];
  return tuned;
}

Result<PlanEntry> ChooseRow(const Case& c, std::span<const TunedRow> rows) {
  std::vector<const TunedRow*> right;
  for (const TunedRow& row : rows) {
    if (row.dropped.empty()) right.push_back(&row);
  }
  if (right.empty()) return Internal("{} rows were tried and none was right", rows.size());
  const TunedRow* first = right.front();
  std::ranges::stable_sort(right, {}, &TunedRow::microseconds);
  if (right.front()->microseconds > first->microseconds * (1 - kTuneMargin)) {
    std::erase(right, first);
    right.insert(right.begin(), first);
  }
  PlanEntry entry{PlanCase(c), right[0]->row->kernel, "", right[0]->microseconds, 0};
  if (right.size() > 1) {
    entry.second = right[1]->row->kernel;
    entry.second_microseconds = right[1]->microseconds;
  }
  return entry;
}

}  // namespace unimax
