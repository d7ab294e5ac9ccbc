// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace unimax {

double RefAct(Activation act, double x) {
  switch (act) {
    case Activation::kNone:
      return x;
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::kGeluTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::fmax(x, 0.0);
  }
  return x;
}

double RefCap(double y, double cap) { return cap > 0 ? cap * std::tanh(y / cap) : y; }

void RefEmbed(const int* ids, const double* table, double* y, int m, int cols, double scale) {
  for (int t = 0; t < m; ++t) {
    for (int c = 0; c < cols; ++c) y[int64_t{t} * cols + c] = table[int64_t{ids[t]} * cols + c] * scale;
  }
}

void RefAddPosition(const double* x, const double* table, const int* positions, double* y, int m, int cols, int first) {
  for (int t = 0; t < m; ++t) {
    const double* row = table + int64_t{positions[t] + first} * cols;
    for (int c = 0; c < cols; ++c) y[int64_t{t} * cols + c] = x[int64_t{t} * cols + c] + row[c];
  }
}

void RefNorm(const double* x, const double* weight, double* y, int m, int cols, double eps,
             const RefNormOptions& options) {
  for (int t = 0; t < m; ++t) {
    const double* row = x + int64_t{t} * cols;
    double mean = 0, sum = 0;
    for (int c = 0; c < cols && options.kind == NormKind::kLayer; ++c) mean += row[c] / cols;
    for (int c = 0; c < cols; ++c) sum += (row[c] - mean) * (row[c] - mean);
    const double scale = 1.0 / std::sqrt(sum / cols + eps);
    for (int c = 0; c < cols; ++c) {
      const double bias = options.bias != nullptr ? options.bias[c] : 0.0;
      y[int64_t{t} * cols + c] = (row[c] - mean) * scale * (weight[c] + options.offset) + bias;
    }
  }
}

void RefLinear(const double* x, const double* w, const double* bias, const double* residual, double* y, int m, int n,
               int k, const RefEpilogue& epilogue) {
  for (int t = 0; t < m; ++t) {
    for (int i = 0; i < n; ++i) {
      double sum = bias != nullptr ? bias[i] : 0.0;
      for (int j = 0; j < k; ++j) sum += x[int64_t{t} * k + j] * w[int64_t{i} * k + j];
      sum = RefAct(epilogue.act, sum) * epilogue.scale;
      if (residual != nullptr) sum += residual[int64_t{t} * n + i];
      y[int64_t{t} * n + i] = RefCap(sum, epilogue.cap);
    }
  }
}

void RefActMul(const double* gate, const double* up, double* y, int64_t count, Activation act) {
  for (int64_t i = 0; i < count; ++i) y[i] = RefAct(act, gate[i]) * (up != nullptr ? up[i] : 1.0);
}

void RefAdd(const double* a, const double* b, double* y, int64_t count, double scale) {
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i] * scale;
}

void RefRope(double* x, const int* positions, const double* inv_freq, double magnitude, bool interleaved, int m,
             int heads, int head_dim, int rotary) {
  const int half = (rotary < 0 ? head_dim : rotary) / 2;
  for (int t = 0; t < m; ++t) {
    for (int h = 0; h < heads; ++h) {
      double* v = x + (int64_t{t} * heads + h) * head_dim;
      for (int i = 0; i < half; ++i) {
        const double angle = positions[t] * inv_freq[i];
        const double c = std::cos(angle) * magnitude, s = std::sin(angle) * magnitude;
        double& a = v[interleaved ? 2 * i : i];
        double& b = v[interleaved ? 2 * i + 1 : i + half];
        const double first = a * c - b * s;
        b = b * c + a * s;
        a = first;
      }
    }
  }
}

void RefAttentionRow(const double* q, const double* k, const double* v, double* y, int tokens, int heads, int kv_heads,
                     int head_dim, double scale, double cap, int window) {
  if (window > 0 && window < tokens) {
    k += int64_t{tokens - window} * kv_heads * head_dim;
    v += int64_t{tokens - window} * kv_heads * head_dim;
    tokens = window;
  }
  std::vector<double> p(static_cast<size_t>(tokens));
  for (int h = 0; h < heads; ++h) {
    const int64_t kv = h / (heads / kv_heads);
    double top = -INFINITY;
    for (int t = 0; t < tokens; ++t) {
      double dot = 0;
      for (int d = 0; d < head_dim; ++d)
        dot += q[int64_t{h} * head_dim + d] * k[(int64_t{t} * kv_heads + kv) * head_dim + d];
      const double score = RefCap(dot * scale, cap);
      p[static_cast<size_t>(t)] = score;
      top = std::fmax(top, score);
    }
    double sum = 0;
    for (double& value : p) sum += value = std::exp(value - top);
    for (int d = 0; d < head_dim; ++d) {
      double mix = 0;
      for (int t = 0; t < tokens; ++t)
        mix += p[static_cast<size_t>(t)] * v[(int64_t{t} * kv_heads + kv) * head_dim + d];
      y[int64_t{h} * head_dim + d] = mix / sum;
    }
  }
}

int RefSample(const double* logits, int vocab) {
  int best = 0;
  for (int i = 0; i < vocab; ++i) {
    if (!std::isfinite(logits[i])) return -1;
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

namespace {

double RefPenalised(const DrawStep& step, const DrawEntry& e, double length, double x) {
  const double turned = x < 0 ? x * step.value : x / step.value;
  switch (step.kind) {
    case DrawKind::kRepetition:
      return e.all > 0 ? turned : x;
    case DrawKind::kFrequency:
      return x - step.value * e.generated;
    case DrawKind::kPresence:
      return x - (e.generated > 0 ? step.value : 0);
    case DrawKind::kFrequencyShare:
      return x - step.value * e.all / length;
    case DrawKind::kFrequencySigned:
      return e.id != 0 ? x - e.all * turned : x;
    default:
      return x;
  }
}

struct RefCandidate {
  double x;
  int id;
};

// `from` best first: those that the step leaves.
void RefFilter(const DrawStep& step, std::vector<RefCandidate>* from) {
  size_t kept = from->size();
  const auto best = (*from)[0].x;
  if (step.kind == DrawKind::kMinP) {
    while ((*from)[kept - 1].x - best < step.value) --kept;
  } else if (step.kind == DrawKind::kTopK) {
    kept = std::min(kept, static_cast<size_t>(step.value));
    while (kept < from->size() && (*from)[kept].x == (*from)[kept - 1].x) ++kept;
  } else if (step.kind == DrawKind::kTopP) {
    double sum = 0, dropped = 0;
    for (const RefCandidate& c : *from) sum += std::exp(c.x - best);
    while (kept > 1 && (dropped += std::exp((*from)[kept - 1].x - best)) <= (1 - step.value) * sum) --kept;
  }
  from->resize(kept);
}

}  // namespace

int RefDraw(const double* logits, int vocab, const DrawRow& row, const DrawEntry* entries, int newest) {
  std::vector<double> x(logits, logits + vocab);
  std::vector<DrawEntry> own(entries, entries + row.entries);
  if (newest >= 0) {
    auto found = std::ranges::find_if(own, [&](const DrawEntry& e) { return e.id == newest; });
    if (found == own.end()) found = own.insert(found, {0, newest, 0, 0, 0});
    ++found->all;
    ++found->generated;
  }
  for (const DrawEntry& e : own) {
    double& value = x[static_cast<size_t>(e.id)];
    value += e.x;
    for (int s = 0; s < row.steps; ++s) value = RefPenalised(row.step[s], e, row.length, value);
  }
  for (int s = 0; s < row.steps; ++s) {
    if (row.step[s].kind != DrawKind::kTemperature) continue;
    for (double& value : x) value /= row.step[s].value;
  }
  std::vector<RefCandidate> candidates;
  for (int id = 0; id < vocab; ++id) {
    if (std::isfinite(x[static_cast<size_t>(id)])) candidates.push_back({x[static_cast<size_t>(id)], id});
  }
  if (candidates.empty()) return -1;
  std::ranges::stable_sort(candidates, [](const RefCandidate& a, const RefCandidate& b) { return a.x > b.x; });
  const RefCandidate best = candidates[0];
  if (row.mode == DrawRow::kLargest) return best.id;
  for (int s = 0; s < row.steps; ++s) RefFilter(row.step[s], &candidates);
  std::ranges::sort(candidates, [](const RefCandidate& a, const RefCandidate& b) { return a.id < b.id; });
  double left = 0;
  for (const RefCandidate& c : candidates) left += std::exp(c.x - best.x);
  left *= row.uniform;
  for (const RefCandidate& c : candidates) {
    if ((left -= std::exp(c.x - best.x)) < 0) return c.id;
  }
  return candidates.back().id;
}

std::vector<float> CosSinTable(const std::vector<double>& inv_freq, double magnitude, int context) {
  std::vector<float> table;
  table.reserve(static_cast<size_t>(context) * inv_freq.size() * 2);
  for (int position = 0; position < context; ++position) {
    for (double f : inv_freq) {
      // The low part of the product matters near a zero of either function: 20 bits are lost at position 10^6.
      const double angle = position * f, low = std::fma(position, f, -angle);
      const double cos = std::cos(angle), sin = std::sin(angle);
      table.push_back(static_cast<float>((cos - sin * low) * magnitude));
      table.push_back(static_cast<float>((sin + cos * low) * magnitude));
    }
  }
  return table;
}

std::vector<float> CosSinTable(const Rope& rope, int context) {
  std::vector<float> table = CosSinTable(rope.inv_freq, rope.magnitude, context);
  if (!rope.long_inv_freq.empty()) {
    const std::vector<float> far = CosSinTable(rope.long_inv_freq, rope.magnitude, context);
    table.insert(table.end(), far.begin(), far.end());
  }
  return table;
}

}  // namespace unimax
