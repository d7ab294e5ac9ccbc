// SPDX-License-Identifier: Apache-2.0
// Every op in double, one plain loop each: the truth that all kernel rows are compared with. Matrices are row-major and
// dense; names and shapes are those of args.h. Sources: Zhang & Sennrich 2019 (RMS norm), Su et al. 2021 (rotary
// positions), Vaswani et al. 2017 (attention), Shazeer 2020 (gated units), Hendrycks & Gimpel 2016 (GELU), Ba et al.
// 2016 (layer norm), Bello et al. 2017 (capped logits).
#pragma once

#include <cstdint>
#include <vector>

#include "base/activation.h"
#include "kernels/draw_args.h"
#include "program/program.h"

namespace unimax {

double RefAct(Activation act, double x);
// cap * tanh(y / cap); 0: y.
double RefCap(double y, double cap);

void RefEmbed(const int* ids, const double* table, double* y, int m, int cols, double scale = 1);
// table: [rows, cols], of which position p takes row p + first. y may be x.
void RefAddPosition(const double* x, const double* table, const int* positions, double* y, int m, int cols, int first);
struct RefNormOptions {
  NormKind kind = NormKind::kRms;
  double offset = 0;             // added to the weight
  const double* bias = nullptr;  // [cols]
};
// Heads that are normed each by itself are rows of their own: m * groups of them.
void RefNorm(const double* x, const double* weight, double* y, int m, int cols, double eps,
             const RefNormOptions& options = {});
struct RefEpilogue {
  Activation act = Activation::kNone;
  double scale = 1, cap = 0;
};
// bias and residual may be null.
void RefLinear(const double* x, const double* w, const double* bias, const double* residual, double* y, int m, int n,
               int k, const RefEpilogue& epilogue = {});
// up may be null: y = act(gate).
void RefActMul(const double* gate, const double* up, double* y, int64_t count, Activation act = Activation::kSilu);
void RefAdd(const double* a, const double* b, double* y, int64_t count, double scale = 1);
// Rotates the first `rotary` elements (-1: all) of `heads` vectors of `head_dim` in place by angle positions[t] *
// inv_freq[i], times `magnitude`.
void RefRope(double* x, const int* positions, const double* inv_freq, double magnitude, bool interleaved, int m,
             int heads, int head_dim, int rotary = -1);
// One row of attention over the last `window` (0: all) of `tokens` cached positions; k, v: [tokens, kv_heads,
// head_dim]; q, y: [heads, head_dim].
void RefAttentionRow(const double* q, const double* k, const double* v, double* y, int tokens, int heads, int kv_heads,
                     int head_dim, double scale, double cap = 0, int window = 0);
// The index of the largest of [vocab], the lowest on ties; -1 where one is not finite.
int RefSample(const double* logits, int vocab);
// The id that `row` draws from [vocab], with its entries and the newest id of its history (-1: they count it already);
// -1 where none is left. Sorted whole, in double.
int RefDraw(const double* logits, int vocab, const DrawRow& row, const DrawEntry* entries, int newest);

// cos and sin of position * inv_freq[i], times magnitude: [context, half, 2] in f32, the table of RopeStoreArgs.
std::vector<float> CosSinTable(const std::vector<double>& inv_freq, double magnitude, int context);
// The same of a rope: where it has a second set of frequencies, [2 * context, half, 2].
std::vector<float> CosSinTable(const Rope& rope, int context);

}  // namespace unimax
