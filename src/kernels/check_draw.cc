// SPDX-License-Identifier: Apache-2.0
#include "kernels/check_draw.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/draw_args.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

using Kind = DrawKind;

// The steps of row t; rows go through them in turn.
const std::vector<std::vector<DrawStep>>& Settings() {
  static const std::vector<std::vector<DrawStep>> settings = {
      {{Kind::kTemperature, 0, 0.7}},
      {{Kind::kTemperature, 0, 0.8}, {Kind::kTopK, 0, 40}, {Kind::kTopP, 0, 0.9}},
      {{Kind::kRepetition, 0, 1.3}, {Kind::kFrequency, 0, 0.5}, {Kind::kPresence, 0, 0.4}, {Kind::kTopP, 0, 0.95}},
      {{Kind::kTemperature, 0, 1.5}, {Kind::kMinP, 0, std::log(0.05)}, {Kind::kTopK, 0, 300}},
      {{Kind::kFrequencyShare, 0, 2}, {Kind::kTemperature, 0, 3}, {Kind::kTopP, 0, 0.5}, {Kind::kMinP, 0, -1}},
      {{Kind::kFrequencySigned, 0, -0.3}, {Kind::kTopP, 0, 0.999}},
      {{Kind::kTopP, 0, 0.3}},   // equal logits
      {{Kind::kTopK, 0, 2000}},  // equal logits
      {{Kind::kRepetition, 0, 0.8}, {Kind::kTopP, 0, 1e-9}}};
  return settings;
}

// A step's rows and what they point to, on the host.
struct DrawStepOf {
  std::vector<float> logits;
  std::vector<int> ids, previous;
  std::vector<DrawRow> rows;
  std::vector<DrawEntry> entries;
};

// So many entries of different ids, with room for one more.
void AddEntries(int count, int vocab, std::mt19937_64& random, DrawStepOf* step) {
  DrawRow& row = step->rows.back();
  row.first = static_cast<int>(step->entries.size());
  row.entries = std::min(count, vocab);
  const int stride = vocab / row.entries;
  for (int e = 0; e < row.entries; ++e) {
    const int id = e * stride + static_cast<int>(random() % static_cast<uint64_t>(stride));
    const int all = static_cast<int>(random() % 4), generated = static_cast<int>(random() % 3);
    const double more = e % 7 == 1 ? -std::numeric_limits<double>::infinity() : e % 5 == 1 ? 1.25 : 0;
    step->entries.push_back({more, id, all + generated, generated, 0});
  }
  step->entries.push_back({0, -1, 0, 0, 0});
}

DrawStepOf MakeStep(const Case& c, std::mt19937_64& random) {
  DrawStepOf step;
  std::normal_distribution<float> normal(0, 3);
  std::uniform_real_distribution<double> uniform(0, 1);
  const auto vocab = static_cast<size_t>(c.n);
  for (int t = 0; t < c.m; ++t) {
    const size_t setting = static_cast<size_t>(t) % Settings().size();
    const bool equal = setting == 6 || setting == 7, broken = t > 0 && t == c.m - 1;
    for (size_t i = 0; i < vocab; ++i) step.logits.push_back(equal ? 0.5f : normal(random));
    if (broken) step.logits[step.logits.size() - vocab / 2] = std::nanf("");
    step.previous.push_back(static_cast<int>(random() % vocab));
    DrawRow& row = step.rows.emplace_back();
    row.uniform = uniform(random);
    row.length = 50;
    row.mode = t % 11 == 10 ? DrawRow::kLeave : t % 5 == 4 ? DrawRow::kLargest : DrawRow::kWeighted;
    for (const DrawStep& s : Settings()[setting]) row.step[row.steps++] = s;
    if (t % 3 != 0) AddEntries(t % 2 == 0 ? 5 : 700, c.n, random, &step);
    if (t % 4 == 2) row.pending = t;
    // Half of the newest ids have an entry already.
    if (t % 8 == 2 && row.entries > 0) {
      step.previous.back() = step.entries[static_cast<size_t>(row.first + row.entries - 1)].id;
    }
    if (row.pending >= 0 && row.entries == 0) {
      row.first = static_cast<int>(step.entries.size());
      step.entries.push_back({0, -1, 0, 0, 0});
    }
    step.ids.push_back(broken ? -1 : c.n);  // what stood there before must go
  }
  step.entries.push_back({});  // never empty
  return step;
}

template <class T>
Result<Buffer> OnDevice(Device& device, const std::vector<T>& values) {
  UM_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(values.size() * sizeof(T), "check"));
  UM_RETURN_IF_ERROR(device.Upload(buffer.data(), values.data(), values.size() * sizeof(T)));
  return buffer;
}

}  // namespace

Result<CheckResult> CheckDraws(Device& device, const Row& row, const Case& c, uint64_t seed, int repeats) {
  std::mt19937_64 random(seed);
  const DrawStepOf step = MakeStep(c, random);
  UM_ASSIGN_OR_RETURN(Buffer logits, OnDevice(device, step.logits));
  UM_ASSIGN_OR_RETURN(Buffer ids, OnDevice(device, step.ids));
  UM_ASSIGN_OR_RETURN(Buffer previous, OnDevice(device, step.previous));
  UM_ASSIGN_OR_RETURN(Buffer rows, OnDevice(device, step.rows));
  UM_ASSIGN_OR_RETURN(Buffer entries, OnDevice(device, step.entries));
  const DrawArgs args{reinterpret_cast<float*>(logits.data()),
                      reinterpret_cast<const DrawRow*>(rows.data()),
                      reinterpret_cast<DrawEntry*>(entries.data()),
                      reinterpret_cast<const int*>(previous.data()),
                      reinterpret_cast<int*>(ids.data()),
                      c.m,
                      c.n};
  UM_ASSIGN_OR_RETURN(const Launch launch, LaunchOf(device, row, c, args));
  UM_RETURN_IF_ERROR(device.Run(launch));
  std::vector<int> got(step.ids.size());
  std::vector<float> after(step.logits.size());
  UM_RETURN_IF_ERROR(device.Download(got.data(), ids.data(), got.size() * sizeof(int)));
  UM_RETURN_IF_ERROR(device.Download(after.data(), logits.data(), after.size() * sizeof(float)));
  CheckResult result;
  result.norm = std::sqrt(static_cast<double>(c.m));
  for (size_t t = 0; t < step.rows.size(); ++t) {
    const DrawRow& of = step.rows[t];
    const float* from = step.logits.data() + t * static_cast<size_t>(c.n);
    const std::vector<double> exact(from, from + c.n);
    const bool stays = of.mode == DrawRow::kLeave || step.ids[t] < 0;
    const int newest = of.pending < 0 ? -1 : step.previous[static_cast<size_t>(of.pending)];
    const int wanted = stays ? step.ids[t] : RefDraw(exact.data(), c.n, of, step.entries.data() + of.first, newest);
    const float* then = after.data() + t * static_cast<size_t>(c.n);
    const bool same = std::memcmp(from, then, static_cast<size_t>(c.n) * sizeof(float)) == 0;
    if (got[t] != wanted || !same) result.error += 1;
  }
  UM_ASSIGN_OR_RETURN(result.microseconds, MedianMicroseconds(device, launch, repeats));
  return result;
}

Result<double> MedianMicroseconds(Device& device, const Launch& launch, int repeats) {
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) {
    UM_RETURN_IF_ERROR(device.Mark(0));
    UM_RETURN_IF_ERROR(device.Run(launch));
    UM_RETURN_IF_ERROR(device.Mark(1));
    UM_ASSIGN_OR_RETURN(const double ms, device.Milliseconds(0, 1));
    times.push_back(ms * 1e3);
  }
  if (times.empty()) return 0.0;
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size()) / 2, times.end());
  return times[times.size() / 2];
}

}  // namespace unimax
