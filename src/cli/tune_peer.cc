// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_peer.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/log.h"
#include "base/mapped_file.h"
#include "cli/command.h"
#include "cli/tune_tunable.h"
#include "exec/read_rate.h"
#include "kernels/peer.h"
#include "kernels/plan.h"
#include "kernels/tune.h"

namespace unimax {
namespace {

// y[n], x[k]: q/k/v, out, gate/up, down of each model; OPT's first product of the MLP and its second.
constexpr std::pair<int, int> kAnchors[] = {{12288, 4096}, {4096, 4096},  {22016, 4096}, {4096, 11008}, {15360, 5120},
                                            {5120, 5120},  {27648, 5120}, {5120, 13824}, {6144, 4096},  {28672, 4096},
                                            {4096, 14336}, {16384, 4096}, {4096, 16384}};

struct Times {
  const Row* row = nullptr;  // the fastest of ours, one after the other
  double ours = 0;           // its time
  double overlapped = 0;     // of the fastest where each launch may begin before the one before it ends
  double first = 0, best = 0;
  std::string best_way;
};

// The distance of a peer's output from the reference.
Result<double> PeerError(PeerGemm& peer, int way, TuneData& data, Device& device) {
  UM_RETURN_IF_ERROR(data.Reset());
  UM_RETURN_IF_ERROR(device.Synchronize());
  UM_RETURN_IF_ERROR(peer.Enqueue(way, data.Operands(0)));
  UM_RETURN_IF_ERROR(device.Synchronize());
  UM_ASSIGN_OR_RETURN(const std::vector<double> y, data.Output());
  UM_ASSIGN_OR_RETURN(const TuneSample sample, data.PlainReference());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < sample.at.size(); ++i) {
    difference += std::pow(y[sample.at[i]] - sample.values[i], 2);
    norm += std::pow(sample.values[i], 2);
  }
  const double error = std::sqrt(difference / norm);
  return std::isfinite(error) ? error : INFINITY;
}

Result<Times> Compare(const Case& c, PeerGemm& peer, int choices, Device& device, const TuneOptions& how) {
  const TurnShape shape = TurnShapeOf(c, device.limits(), how);
  if (shape.sets == 0) return NoDevice("the weights do not fit the free memory of {}", device.limits().name);
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<TuneData> data, TuneData::Make(device, c, shape.sets, 1));
  UM_ASSIGN_OR_RETURN(const int ways, peer.Prepare(c, choices));
  const std::vector<const Row*> rows = CandidateRows(c, device.limits());
  for (int way = 0; way < ways; ++way) {
    UM_ASSIGN_OR_RETURN(const double error, PeerError(peer, way, *data, device));
    const double most = rows.empty() ? 0 : static_cast<double>(rows[0]->tolerance);
    if (error > 2 * most) {
      return Internal("{} ({}) differs from the reference by {:.3g}", peer.Describe(), peer.Way(way), error);
    }
  }
  UM_ASSIGN_OR_RETURN(std::vector<TunedRow> checked, CheckRows(device, rows, *data));
  std::erase_if(checked, [](const TunedRow& row) { return !row.dropped.empty(); });
  if (checked.empty()) return Internal("none of our rows is right");
  TurnTimer timer(device, shape.flush, how.cold ? 2 : 0);
  for (const bool overlap : {false, true}) {
    for (const TunedRow& row : checked) {
      UM_RETURN_IF_ERROR(timer.Add(shape.launches, [&](int i) -> Status {
        UM_ASSIGN_OR_RETURN(Launch launch, data->LaunchOn(*row.row, i % shape.sets));
        launch.overlap = overlap && i > 0;
        return device.Run(launch);
      }));
    }
  }
  for (int way = 0; way < ways; ++way) {
    UM_RETURN_IF_ERROR(
        timer.Add(shape.launches, [&](int i) { return peer.Enqueue(way, data->Operands(i % shape.sets)); }));
  }
  UM_ASSIGN_OR_RETURN(const std::vector<double> times, timer.Run(how.repeats));
  const auto count = static_cast<int64_t>(checked.size());
  const auto ours = std::min_element(times.begin(), times.begin() + count);
  const auto theirs = std::min_element(times.begin() + 2 * count, times.end());
  Times found;
  found.row = checked[static_cast<size_t>(ours - times.begin())].row;
  found.ours = *ours;
  found.overlapped = *std::min_element(times.begin() + count, times.begin() + 2 * count);
  found.first = times[static_cast<size_t>(2 * count)];
  found.best = *theirs;
  found.best_way = peer.Way(static_cast<int>(theirs - times.begin() - 2 * count));
  return found;
}

// The geometric mean of ratios.
class Mean {
 public:
  void Add(double ratio) {
    sum_ += std::log(ratio);
    ++count_;
  }
  double value() const { return count_ == 0 ? 0 : std::exp(sum_ / count_); }
  int count() const { return count_; }

 private:
  double sum_ = 0;
  int count_ = 0;
};

struct Means {
  Mean first, best, overlapped;  // first and best choice over ours; first choice over ours overlapped
};

// The share of the read rate that our fastest row, one launch after the other, reaches; 0: not known.
double Share(const Case& c, const Times& t, double rate) {
  return rate > 0 ? t.row->bytes(c) / t.ours * 1e6 / rate : 0;
}

std::string JsonLine(const Limits& limits, const Case& c, const Times& t, const PeerGemm& peer, double rate) {
  return fmt::format(
      "{{\"bench\": \"linear\", \"device\": {}, \"driver\": {}, \"dtype\": \"{}\", \"m\": {}, \"n\": {}, \"k\": {}, "
      "\"row\": \"{}\", \"us\": {:.3f}, \"overlapped_us\": {:.3f}, \"gbps\": {:.1f}, \"read_gbps\": {:.1f}, "
      "\"roofline_share\": {:.4f}, \"peer\": {}, \"peer_us\": {:.3f}, \"peer_best_us\": {:.3f}, \"peer_best\": {}, "
      "\"ratio\": {:.4f}}}",
      JsonString(limits.name), JsonString(limits.driver), Info(c.act).name, c.m, c.n, c.k, t.row->kernel, t.ours,
      t.overlapped, t.row->bytes(c) / t.ours * 1e-3, rate * 1e-9, Share(c, t, rate), JsonString(peer.Describe()),
      t.first, t.best, JsonString(t.best_way), t.first / t.ours);
}

std::string Line(const Case& c, const Times& t, double rate) {
  return fmt::format("{:>5} {:>6} {:>6} {:>9.2f} {:>11.2f} {:>9.2f} {:>9.2f} {:>7.3f} {:>7.0f} {:>7.1f}%  {}; {}", c.m,
                     c.n, c.k, t.ours, t.overlapped, t.first, t.best, t.first / t.ours, t.row->bytes(c) / t.ours * 1e-3,
                     100 * Share(c, t, rate), t.row->kernel, t.best_way);
}

void Summarise(const PeerCommand& options, const std::string& peer, const std::map<int, Means>& means) {
  for (const auto& [m, of] : means) {
    const std::string name = m == 0 ? "all" : fmt::format("m={}", m);
    if (options.json) {
      PrintLine(fmt::format(
          "{{\"bench\": \"linear_mean\", \"peer\": {}, \"of\": \"{}\", \"cases\": {}, \"ratio\": "
          "{:.4f}, \"ratio_best_choice\": {:.4f}, \"ratio_overlapped\": {:.4f}}}",
          JsonString(peer), name, of.first.count(), of.first.value(), of.best.value(), of.overlapped.value()));
    } else {
      PrintLine(
          fmt::format("geometric mean, {:<6} {:>3} cases: {:.3f} times as fast as {} ({:.3f} of its best choices; "
                      "{:.3f} with our launches overlapped)",
                      name, of.first.count(), of.first.value(), peer, of.best.value(), of.overlapped.value()));
    }
  }
}

// What TunableOp found for such a GPU; nothing where none is kept.
Result<TunableFile> Known(const Limits& limits) {
  const Result<MappedFile> file = MappedFile::Open(TunablePath(limits.target));
  if (!file.ok()) return TunableFile();
  return ParseTunableOp({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()});
}

}  // namespace

std::vector<Case> AnchorCases(DType act, std::span<const int> batches) {
  std::vector<Case> cases;
  for (const auto& [n, k] : kAnchors) {
    for (const int m : batches) {
      cases.push_back({.op = OpKind::kLinear, .act = act, .m = m, .n = n, .k = k, .bare = true});
    }
  }
  return cases;
}

Status CheckPeer(const std::string& peer, const Limits& limits) {
  if (peer != "cublas" && peer != "hipblaslt" && peer != "rocblas") {
    return UsageError("--peer {}: give cublas, hipblaslt or rocblas", peer);
  }
  const bool nvidia = limits.target.starts_with("sm_") || limits.target.starts_with("compute_");
  const bool amd = limits.target.starts_with("gfx");
  if (peer == "cublas" ? nvidia : amd) return {};
  return UsageError("--peer {} does not run on {} ({})", peer, limits.name, limits.target);
}

Status ComparePeer(const PeerCommand& options, Device& device, std::span<const Case> cases, TuneGuard& guard) {
  const Limits& limits = device.limits();
  UM_ASSIGN_OR_RETURN(const TunableFile known, Known(limits));
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<PeerGemm> peer,
                      PeerGemm::Open(options.peer, device, &known, options.library));
  LogInfo("{} beside ours: cold weights, launches replayed as a graph, in turns", peer->Describe());
  const TuneOptions how = TuneOptionsFor(limits, options.repeats);
  double rate = 0;  // of a plain pass over memory
  if (how.cold) {
    UM_ASSIGN_OR_RETURN(rate, ReadRate(&device, 0));
  }
  std::map<int, Means> means;
  if (!options.json) {
    PrintLine(fmt::format(
        "read rate {:.0f} GB/s\n{:>5} {:>6} {:>6} {:>9} {:>11} {:>9} {:>9} {:>7} {:>7} {:>8}  our row; its "
        "best choice",
        rate * 1e-9, "m", "n", "k", "ours us", "overlapped", "peer us", "best us", "ratio", "GB/s", "roofline"));
  }
  for (const Case& c : cases) {
    guard.Working(PlanCaseName(c));
    const Result<Times> compared = Compare(c, *peer, options.choices, device, how);
    if (!compared.ok()) return compared.status().At(PlanCaseName(c));
    const Times& t = *compared;
    for (const int m : {0, c.m}) {
      means[m].first.Add(t.first / t.ours);
      means[m].best.Add(t.best / t.ours);
      means[m].overlapped.Add(t.first / t.overlapped);
    }
    PrintLine(options.json ? JsonLine(limits, c, t, *peer, rate) : Line(c, t, rate));
  }
  Summarise(options, peer->Describe(), means);
  return {};
}

}  // namespace unimax
