// SPDX-License-Identifier: Apache-2.0
// A request whose tokens an executor may draw by itself (Step::draws): its parameters in the form of the device, and
// the ids of its history that penalties change. The drawn ids are those that Sampler would choose from the same logits.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/sampler_params.h"
#include "exec/executor.h"

namespace unimax {

class DeviceDraw {
 public:
  // Nothing where the device does not know all steps, or has no room for what they need: `most_entries` of
  // Executor::draw_entries. Masks and log-probabilities are the caller's to refuse. Takes memory for max_new more ids:
  // later calls allocate nothing.
  static std::optional<DeviceDraw> Make(const SamplingParams& params, std::span<const SamplingStep> steps,
                                        std::span<const int> prompt, int max_new, int most_entries);

  // A new id at the end of the history.
  void Append(int id);
  // The row for the id behind a history of `length` ids, of which the last may be pending: what the step before chose
  // at that output (-1: all are known). Its entries go to the end of `entries`.
  DrawRow Row(int length, int pending, std::vector<DrawEntry>* entries) const;

 private:
  DeviceDraw() = default;
  DrawEntry& EntryOf(int id);
  void CountPrompt(std::span<const int> prompt);

  DrawRow row_;  // what is the same for every token
  uint64_t seed_ = 0;
  uint32_t choice_ = 0;
  int prompt_ = 0, min_new_ = 0;    // tokens
  int ends_ = 0;                    // the first entries: ids that may not come before min_new_
  bool counts_ = false;             // a step looks at the history
  std::vector<DrawEntry> entries_;  // x: the bias
};

}  // namespace unimax
