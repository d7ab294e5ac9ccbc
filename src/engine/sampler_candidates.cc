// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler_candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/draw_mass.h"

namespace unimax {
namespace {

constexpr double kRemoved = -std::numeric_limits<double>::infinity();
constexpr size_t kBlock = 256;  // masses a block of sums

// The arithmetic of base/draw_mass.h on the host, which is compiled without contraction.
struct Host {
  static constexpr double Mul(double a, double b) { return a * b; }
  static constexpr double Add(double a, double b) { return a + b; }
};
inline double FastExp(double d) { return DrawExp<Host>(d); }

double Largest(std::span<const double> x) {
  double most[4] = {kRemoved, kRemoved, kRemoved, kRemoved};
  size_t i = 0;
  for (; i + 4 <= x.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) most[lane] = x[i + lane] > most[lane] ? x[i + lane] : most[lane];
  }
  for (; i < x.size(); ++i) most[0] = std::max(most[0], x[i]);
  return std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
}

// Four sums side by side: one order, whatever the compiler makes of it.
double Sum(std::span<const double> x) {
  double sums[4] = {};
  size_t i = 0;
  for (; i + 4 <= x.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) sums[lane] += x[i + lane];
  }
  for (; i < x.size(); ++i) sums[0] += x[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// How many of the masses are at most `bound`, and their sum. Masses stay below 2^62.
struct Low {
  uint64_t sum = 0, count = 0;
};
Low SumUpTo(std::span<const uint64_t> masses, uint64_t bound) {
  Low low;
  for (const uint64_t mass : masses) {
    const bool in = static_cast<int64_t>(mass) <= static_cast<int64_t>(bound);
    low.sum += in ? mass : 0;
    low.count += in;
  }
  return low;
}

}  // namespace

Candidates::Candidates(int vocabulary)
    : x_(static_cast<size_t>(vocabulary)),
      weights_(x_.size()),
      scratch_(x_.size()),
      masses_(x_.size()),
      blocks_(x_.size() / kBlock + 1),
      ids_(x_.size()),
      counts_(x_.size()) {
  items_.reserve(x_.size());
}

bool Candidates::Load(std::span<const float> logits) {
  UM_CHECK(logits.size() == x_.size());
  int bad = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    bad |= !(std::fabs(logits[i]) <= std::numeric_limits<float>::max());
    x_[i] = logits[i];
  }
  n_ = x_.size();
  dense_ = true;
  removed_ = false;
  return bad == 0;
}

void Candidates::Apply(const SamplingStep& step, const Context& context) {
  const auto& [kind, value] = step;
  const std::span<const int> history = context.history, generated = history.subspan(context.prompt);
  const double length = static_cast<double>(history.size());
  switch (kind) {
    case SamplingStep::kMask:
      return Mask(context.mask);
    case SamplingStep::kBadWords:
      return BadWords(context);
    case SamplingStep::kMinNew:
      if (static_cast<double>(generated.size()) >= value) return;
      for (const int id : context.params.end_ids) Remove(id);
      return;
    case SamplingStep::kBias:
      for (const auto& [id, more] : context.params.bias) {
        if (double* x = At(id)) *x += more;
      }
      return;
    case SamplingStep::kRepetition:
      return ForEachOf(history, [value = value](double& x, int, int) { x = x < 0 ? x * value : x / value; });
    case SamplingStep::kFrequency:
      return ForEachOf(generated, [value = value](double& x, int, int count) { x -= value * count; });
    case SamplingStep::kPresence:
      return ForEachOf(generated, [value = value](double& x, int, int) { x -= value; });
    case SamplingStep::kFrequencyShare:
      return ForEachOf(history, [value = value, length](double& x, int, int count) { x -= value * count / length; });
    case SamplingStep::kFrequencySigned:
      return ForEachOf(history, [value = value](double& x, int id, int count) {
        if (id != 0) x -= count * (x < 0 ? x * value : x / value);
      });
    case SamplingStep::kNoRepeatNgram:
      return NoRepeatNgram(history, static_cast<size_t>(value));
    case SamplingStep::kTemperature:
      for (size_t i = 0; i < n_; ++i) x_[i] /= value;
      return;
    case SamplingStep::kTopK:
      return TopK(static_cast<size_t>(value));
    case SamplingStep::kTopP:
      return TopP(value);
    case SamplingStep::kMinP:
      return MinP(value);
    case SamplingStep::kTypical:
      return Typical(value);
    case SamplingStep::kEpsilon:
      return Cutoff(value);
    case SamplingStep::kEta: {
      DropRemoved();
      const double entropy = Entropy(Weigh());
      return Cutoff(std::min(value, std::sqrt(value) * std::exp(-entropy)));
    }
  }
}

// ---- single ids ----

double* Candidates::At(int id) {
  if (dense_) return &x_[static_cast<size_t>(id)];
  const auto end = ids_.begin() + static_cast<ptrdiff_t>(n_);
  const auto found = std::lower_bound(ids_.begin(), end, id);
  return found != end && *found == id ? &x_[static_cast<size_t>(found - ids_.begin())] : nullptr;
}

void Candidates::Remove(int id) {
  if (double* x = At(id)) *x = kRemoved;
  removed_ = true;
}

// Calls change(x, id, how often it stands in `ids`) once for each different id.
template <class Change>
void Candidates::ForEachOf(std::span<const int> ids, Change change) {
  for (const int id : ids) ++counts_[static_cast<size_t>(id)];
  for (const int id : ids) {
    int& count = counts_[static_cast<size_t>(id)];
    if (count == 0) continue;
    if (double* x = At(id); x != nullptr && *x != kRemoved) change(*x, id, count);
    count = 0;
  }
}

void Candidates::Mask(std::span<const uint64_t> allowed) {
  if (allowed.empty()) return;
  removed_ = true;
  for (size_t i = 0; i < n_; ++i) {
    const size_t bit = static_cast<size_t>(id(i));
    if ((allowed[bit / 64] >> (bit % 64) & 1) == 0) x_[i] = kRemoved;
  }
}

void Candidates::BadWords(const Context& context) {
  for (const std::vector<int>& word : context.params.bad_words) {
    const size_t head = word.size() - 1;
    if (head > context.history.size()) continue;
    if (std::equal(word.begin(), word.end() - 1, context.history.end() - static_cast<ptrdiff_t>(head))) {
      Remove(word.back());
    }
  }
}

void Candidates::NoRepeatNgram(std::span<const int> history, size_t n) {
  if (n == 0 || history.size() + 1 < n) return;
  const std::span<const int> tail = history.last(n - 1);
  for (size_t i = 0; i + n <= history.size(); ++i) {
    if (std::ranges::equal(history.subspan(i, n - 1), tail)) Remove(history[i + n - 1]);
  }
}

// ---- filters ----

// Keeps the candidates with keep(index), in their order.
template <class Keep>
void Candidates::KeepIf(Keep keep) {
  size_t kept = 0;
  for (size_t i = 0; i < n_; ++i) {
    if (!keep(i)) continue;
    const int here = id(i);
    x_[kept] = x_[i];
    ids_[kept++] = here;
  }
  n_ = kept;
  dense_ = false;
}

void Candidates::DropRemoved() {
  if (removed_) KeepIf([this](size_t i) { return x_[i] != kRemoved; });
  removed_ = false;
}

double Candidates::KthLargest(std::span<const double> values, size_t k) {
  constexpr size_t kHeap = 256;
  const std::span<double> best(scratch_.data(), k);
  if (k > kHeap) {
    std::ranges::copy(values, scratch_.begin());
    const auto kth = scratch_.begin() + static_cast<ptrdiff_t>(k - 1);
    std::nth_element(scratch_.begin(), kth, scratch_.begin() + static_cast<ptrdiff_t>(values.size()), std::greater());
    return *kth;
  }
  // Few are wanted of many: a heap of the best so far, whose least nearly all others fail to reach.
  std::copy_n(values.begin(), k, best.begin());
  std::ranges::make_heap(best, std::greater());
  for (const double value : values.subspan(k)) {
    if (value <= best.front()) continue;
    std::ranges::pop_heap(best, std::greater());
    best.back() = value;
    std::ranges::push_heap(best, std::greater());
  }
  return best.front();
}

void Candidates::TopK(size_t k) {
  DropRemoved();
  if (k == 0 || k >= n_) return;
  const double least = KthLargest(x(), k);
  KeepIf([this, least](size_t i) { return x_[i] >= least; });
}

double MinPBound(double p) {
  if (!(p > 0)) return kRemoved;
  // exp decides next to the logarithm, which is not exact.
  double below = std::log(p) - 1e-9, bound = std::log(p) + 1e-9;
  for (;;) {
    const double middle = below + (bound - below) / 2;
    if (middle <= below || middle >= bound) return bound;
    (std::exp(middle) >= p ? bound : below) = middle;
  }
}

void Candidates::MinP(double p) {
  DropRemoved();
  const double largest = Largest(x()), bound = MinPBound(p);
  KeepIf([this, largest, bound](size_t i) { return x_[i] - largest >= bound; });
}

// Of items_ in ascending order of (key, ties by the order of `index` that the caller made them in): the first at which
// crossed(mass + the masses up to it); the last if none. Expected O(items): halves that cannot hold it are never
// sorted.
template <class Crossed>
Candidates::Item Candidates::Crossing(Crossed crossed, uint64_t mass) {
  const auto less = [](const Item& a, const Item& b) { return a.key < b.key || (a.key == b.key && a.index > b.index); };
  size_t low = 0, high = items_.size();
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const auto at = [this](size_t i) { return items_.begin() + static_cast<ptrdiff_t>(i); };
    std::nth_element(at(low), at(middle), at(high), less);
    uint64_t more = mass;
    for (size_t i = low; i < middle; ++i) more += items_[i].mass;
    if (crossed(more)) {
      high = middle;
    } else {
      mass = more;
      low = middle;
    }
  }
  return items_[low];
}

void Candidates::TopP(double p) {
  DropRemoved();
  if (n_ == 0) return;
  const std::span<const uint64_t> masses(masses_.data(), n_);
  const uint64_t total = WeighWhole(), budget = total - DrawKept(p, total);
  // All of the n smallest masses up to budget / n fit into the budget together: they go before anything is sorted.
  // What they leave of it raises that bound for the rest.
  uint64_t share = budget / n_;
  for (int round = 0; round < 2; ++round) {
    const Low low = SumUpTo(masses, share);
    if (low.count == n_) break;
    share = std::max(share, (budget - low.sum) / (n_ - low.count));
  }
  const uint64_t dropped = SumUpTo(masses, share).sum;
  items_.clear();
  for (size_t i = 0; i < n_; ++i) {
    if (masses_[i] > share) items_.push_back({x_[i], masses_[i], static_cast<uint32_t>(i)});
  }
  UM_CHECK(!items_.empty());  // all together exceed the budget, and those up to `share` do not
  const Item cut = Crossing([budget](uint64_t mass) { return mass > budget; }, dropped);
  KeepIf(
      [this, cut](size_t i) { return x_[i] > cut.key || (x_[i] == cut.key && static_cast<uint32_t>(i) <= cut.index); });
}

double Candidates::Entropy(double sum) const {
  const double largest = Largest(x()), log_sum = std::log(sum);
  double entropy = 0;
  for (size_t i = 0; i < n_; ++i) {
    if (weights_[i] > 0) entropy -= weights_[i] / sum * (x_[i] - largest - log_sum);
  }
  return entropy;
}

void Candidates::Typical(double mass) {
  DropRemoved();
  if (n_ == 0) return;
  const double sum = Weigh(), largest = Largest(x()), log_sum = std::log(sum), entropy = Entropy(sum);
  const double wanted = mass * static_cast<double>(WeighWhole());
  const auto surprise = [=, this](size_t i) { return std::fabs(-(x_[i] - largest - log_sum) - entropy); };
  items_.clear();
  for (size_t i = 0; i < n_; ++i) items_.push_back({surprise(i), masses_[i], static_cast<uint32_t>(i)});
  const Item cut = Crossing([wanted](uint64_t so_far) { return static_cast<double>(so_far) >= wanted; }, 0);
  KeepIf([&](size_t i) { return surprise(i) <= cut.key; });
}

void Candidates::Cutoff(double probability) {
  DropRemoved();
  if (n_ == 0) return;
  const double sum = Weigh(), largest = Largest(x());
  KeepIf([=, this](size_t i) { return weights_[i] / sum >= probability || x_[i] >= largest; });
}

// ---- the choice ----

size_t Candidates::Best() const {
  const double largest = Largest(x());
  return static_cast<size_t>(std::ranges::find(x(), largest) - x().begin());
}

double Candidates::Weigh() {
  const double largest = Largest(x());
  double sum = 0;
  for (size_t from = 0; from < n_; from += kBlock) {
    const size_t to = std::min(n_, from + kBlock);
    for (size_t i = from; i < to; ++i) weights_[i] = FastExp(x_[i] - largest);
    sum += Sum({weights_.data() + from, to - from});
  }
  return sum;
}

uint64_t Candidates::WeighWhole() {
  const double largest = Largest(x()), scale = DrawScale(static_cast<int>(x_.size()));
  uint64_t total = 0;
  for (size_t from = 0, block = 0; from < n_; from += kBlock, ++block) {
    const size_t to = std::min(n_, from + kBlock);
    uint64_t sum = 0;
    for (size_t i = from; i < to; ++i) masses_[i] = DrawMass<Host>(x_[i] - largest, scale);
    for (size_t i = from; i < to; ++i) sum += masses_[i];
    total += blocks_[block] = sum;
  }
  return total;
}

size_t Candidates::Draw(double uniform) {
  uint64_t left = DrawTarget(uniform, WeighWhole());
  size_t i = 0;
  for (size_t block = 0; left >= blocks_[block]; ++block, i += kBlock) left -= blocks_[block];
  for (; left >= masses_[i]; ++i) left -= masses_[i];
  return i;
}

double Candidates::LogSum() {
  const double largest = Largest(x());
  return largest + std::log(Weigh());
}

}  // namespace unimax
