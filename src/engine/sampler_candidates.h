// SPDX-License-Identifier: Apache-2.0
// The ids that may still be chosen, with their logits: what the steps of a sampler work on.
// Dense at first (every id of the vocabulary, x[id]), a list in the order of ids after the first filter. All memory is
// taken in the constructor. Values are double: cuts then fall where float64 references put them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler_params.h"

namespace unimax {

// Min-p keeps what lies at most this far below the largest: the smallest d with exp(d) >= p.
double MinPBound(double p);

class Candidates {
 public:
  explicit Candidates(int vocabulary);

  // Starts over with these logits, [vocabulary]. False: one is not finite.
  bool Load(std::span<const float> logits);
  // What a step may look at besides the logits.
  struct Context {
    const SamplingParams& params;
    std::span<const int> history;    // prompt and generated ids, each in the vocabulary
    size_t prompt = 0;               // of these are the prompt
    std::span<const uint64_t> mask;  // a bit for each id, 1: allowed; empty: all are
  };
  void Apply(const SamplingStep& step, const Context& context);
  void DropRemoved();  // after the last step

  size_t size() const { return n_; }
  int id(size_t index) const { return dense_ ? static_cast<int>(index) : ids_[index]; }
  std::span<const double> x() const { return {x_.data(), n_}; }
  // The largest, the lowest id of equal ones: an index. At least one candidate.
  size_t Best() const;
  // exp(x - largest) of all candidates, and their sum.
  double Weigh();
  // The index whose share of the cumulative sum of masses (base/draw_mass.h), in the order of ids, holds `uniform` in
  // [0, 1). At least one candidate, none of them removed.
  size_t Draw(double uniform);
  // log of the sum of exp(x): x[i] - LogSum() is a log-probability.
  double LogSum();
  // The value of the k-th largest of `values`.
  double KthLargest(std::span<const double> values, size_t k);

 private:
  struct Item {
    double key;
    uint64_t mass;
    uint32_t index;
  };
  template <class Keep>
  void KeepIf(Keep keep);
  template <class Crossed>
  Item Crossing(Crossed crossed, uint64_t mass);
  void Remove(int id);
  double* At(int id);
  template <class Change>
  void ForEachOf(std::span<const int> ids, Change change);
  void Mask(std::span<const uint64_t> allowed);
  void BadWords(const Context& context);
  void NoRepeatNgram(std::span<const int> history, size_t n);
  void TopK(size_t k);
  void TopP(double p);
  void MinP(double p);
  void Typical(double mass);
  void Cutoff(double probability);
  double Entropy(double sum) const;
  uint64_t WeighWhole();  // masses of all candidates, and their sum

  std::vector<double> x_, weights_, scratch_;  // [vocabulary]
  std::vector<uint64_t> masses_;               // [vocabulary]
  std::vector<uint64_t> blocks_;               // sums of masses
  std::vector<int> ids_;                       // [vocabulary] ascending; unused while dense
  std::vector<int> counts_;                    // [vocabulary] all 0 between steps
  std::vector<Item> items_;
  size_t n_ = 0;
  bool dense_ = true;
  bool removed_ = false;  // some x may be -inf
};

}  // namespace unimax
