// SPDX-License-Identifier: Apache-2.0
// Rotary frequencies of a model, with the ways to stretch its context.
#pragma once

#include <vector>

#include "base/model_config.h"
#include "program/program.h"

namespace unimax {

// inv_freq[i] in radians a position. Sources: default: Su et al. 2021; linear: Chen et al. 2023 (arXiv 2306.15595);
// llama3: the Llama 3.1 release (three bands by wavelength); yarn: Peng et al. 2023 (arXiv 2309.00071); long: Ding et
// al. 2024 (LongRoPE, arXiv 2402.13753).
Rope MakeRope(const RopeConfig& rope);
// One for all layers, or a second for those with a window.
std::vector<Rope> MakeRopes(const ModelConfig& config);

}  // namespace unimax
