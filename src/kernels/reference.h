// SPDX-License-Identifier: Apache-2.0
// Every op in double, one plain loop each: the truth that all kernel rows are compared with. Matrices are row-major and
// dense; names and shapes are those of args.h. Sources: Zhang & Sennrich 2019 (RMS norm), Su et al. 2021 (rotary
// positions), Vaswani et al. 2017 (attention), Shazeer 2020 (gated units).
#pragma once

#include <cstdint>
#include <vector>

namespace unimax {

void RefEmbed(const int* ids, const double* table, double* y, int m, int cols);
void RefNorm(const double* x, const double* weight, double* y, int m, int cols, double eps);
// bias and residual may be null.
void RefLinear(const double* x, const double* w, const double* bias, const double* residual, double* y, int m, int n,
               int k);
void RefActMul(const double* gate, const double* up, double* y, int64_t count);
void RefAdd(const double* a, const double* b, double* y, int64_t count);
// Rotates `heads` vectors of `head_dim` in place by angle positions[t] * inv_freq[i], times `magnitude`.
void RefRope(double* x, const int* positions, const double* inv_freq, double magnitude, bool interleaved, int m,
             int heads, int head_dim);
// One row of attention over `tokens` cached positions; k, v: [tokens, kv_heads, head_dim]; q, y: [heads, head_dim].
void RefAttentionRow(const double* q, const double* k, const double* v, double* y, int tokens, int heads, int kv_heads,
                     int head_dim, double scale);
// The index of the largest of [vocab], the lowest on ties; -1 where one is not finite.
int RefSample(const double* logits, int vocab);

// cos and sin of position * inv_freq[i], times magnitude: [context, half, 2] in f32, the table of RopeStoreArgs.
std::vector<float> CosSinTable(const std::vector<double>& inv_freq, double magnitude, int context);

}  // namespace unimax
