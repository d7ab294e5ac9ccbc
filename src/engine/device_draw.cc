// SPDX-License-Identifier: Apache-2.0
#include "engine/device_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/philox.h"
#include "engine/sampler_candidates.h"

namespace unimax {
namespace {

using Kind = SamplingStep::Kind;

// How a step of the sampler is called on the device, and what it looks at besides the logits.
struct Known {
  Kind kind;
  std::optional<DrawKind> device;  // none: the entries say it
  bool prompt = false, generated = false;
};
constexpr Known kKnown[] = {
    {Kind::kMask, {}},
    {Kind::kMinNew, {}},
    {Kind::kBias, {}},
    {Kind::kRepetition, DrawKind::kRepetition, true, true},
    {Kind::kFrequency, DrawKind::kFrequency, false, true},
    {Kind::kPresence, DrawKind::kPresence, false, true},
    {Kind::kFrequencyShare, DrawKind::kFrequencyShare, true, true},
    {Kind::kFrequencySigned, DrawKind::kFrequencySigned, true, true},
    {Kind::kTemperature, DrawKind::kTemperature},
    {Kind::kTopK, DrawKind::kTopK},
    {Kind::kTopP, DrawKind::kTopP},
    {Kind::kMinP, DrawKind::kMinP},
};

const Known* Find(Kind kind) {
  const Known* found = std::ranges::find(kKnown, kind, &Known::kind);
  return found != std::end(kKnown) ? found : nullptr;
}

// Beyond these, values may leave the numbers that the device's arithmetic holds.
bool Moderate(const SamplingParams& p) {
  constexpr double kLeast = 1e-6, kMost = 1e6;
  const bool scales = p.repetition_penalty >= kLeast && (p.temperature == 0 || p.temperature >= kLeast);
  return scales && std::ranges::all_of(p.bias, [](const auto& of) { return std::fabs(of.second) <= kMost; });
}

// Two additions to one logit are rounded twice on the host; an entry adds once.
bool NamesAnIdTwice(const SamplingParams& p) {
  std::vector<int> ids;
  for (const auto& [id, more] : p.bias) ids.push_back(id);
  std::ranges::sort(ids);
  return std::ranges::adjacent_find(ids) != ids.end();
}

}  // namespace

std::optional<DeviceDraw> DeviceDraw::Make(const SamplingParams& params, std::span<const SamplingStep> steps,
                                           std::span<const int> prompt, int max_new, int most_entries) {
  const auto known = [](const SamplingStep& step) { return Find(step.kind) != nullptr; };
  if (most_entries < 0 || !std::ranges::all_of(steps, known)) return {};
  if (!Moderate(params) || NamesAnIdTwice(params)) return {};
  DeviceDraw made;
  made.seed_ = params.seed;
  made.choice_ = params.choice;
  made.prompt_ = static_cast<int>(prompt.size());
  made.row_.mode = params.temperature > 0 ? DrawRow::kWeighted : DrawRow::kLargest;
  bool of_prompt = false;
  for (const SamplingStep& step : steps) {
    const Known& as = *Find(step.kind);
    made.counts_ = made.counts_ || as.generated;
    of_prompt = of_prompt || as.prompt;
    if (step.kind == Kind::kMinNew) made.min_new_ = params.min_new;
    if (!as.device) continue;
    if (made.row_.steps == kMostDrawSteps) return {};
    const double value = step.kind == Kind::kMinP ? MinPBound(step.value) : step.value;
    made.row_.step[made.row_.steps++] = {*as.device, 0, value};
  }
  if (made.min_new_ > 0) {
    for (const int id : params.end_ids) made.EntryOf(id);
    made.ends_ = static_cast<int>(made.entries_.size());
  }
  for (const auto& [id, more] : params.bias) made.EntryOf(id).x = more;
  if (of_prompt) made.CountPrompt(prompt);
  const size_t fresh = made.counts_ ? static_cast<size_t>(max_new) : 0;
  if (made.entries_.size() + fresh > static_cast<size_t>(most_entries)) return {};
  made.entries_.reserve(made.entries_.size() + fresh);
  return made;
}

void DeviceDraw::CountPrompt(std::span<const int> prompt) {
  std::vector<int> sorted(prompt.begin(), prompt.end());
  std::ranges::sort(sorted);
  const auto special = static_cast<ptrdiff_t>(entries_.size());  // those of ends and biases
  for (size_t i = 0; i < sorted.size();) {
    const size_t first = i;
    while (i < sorted.size() && sorted[i] == sorted[first]) ++i;
    const int count = static_cast<int>(i - first);
    const auto end = entries_.begin() + special;
    const auto found = std::find_if(entries_.begin(), end, [&](const DrawEntry& e) { return e.id == sorted[first]; });
    if (found != end) {
      found->all = count;
    } else {
      entries_.push_back({0, sorted[first], count, 0, 0});
    }
  }
}

DrawEntry& DeviceDraw::EntryOf(int id) {
  const auto found = std::ranges::find(entries_, id, &DrawEntry::id);
  if (found != entries_.end()) return *found;
  return entries_.emplace_back(DrawEntry{0, id, 0, 0, 0});
}

void DeviceDraw::Append(int id) {
  if (!counts_) return;
  DrawEntry& entry = EntryOf(id);
  ++entry.all;
  ++entry.generated;
}

DrawRow DeviceDraw::Row(int length, int pending, std::vector<DrawEntry>* entries) const {
  DrawRow row = row_;
  row.uniform = PhiloxUniform(seed_, static_cast<uint64_t>(length), choice_);
  row.length = length;
  row.first = static_cast<int>(entries->size());
  row.entries = static_cast<int>(entries_.size());
  entries->insert(entries->end(), entries_.begin(), entries_.end());
  if (length - prompt_ < min_new_) {
    for (int e = 0; e < ends_; ++e) {
      (*entries)[static_cast<size_t>(row.first + e)].x = -std::numeric_limits<double>::infinity();
    }
  }
  if (counts_ && pending >= 0) {
    row.pending = pending;
    entries->push_back({0, -1, 0, 0, 0});
  }
  return row;
}

}  // namespace unimax
