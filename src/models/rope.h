// SPDX-License-Identifier: Apache-2.0
// Rotary frequencies of a model, with the ways to stretch its context.
#pragma once

#include "base/model_config.h"
#include "program/program.h"

namespace unimax {

// inv_freq[i] in radians a position. Sources: default: Su et al. 2021; linear: Chen et al. 2023 (arXiv 2306.15595);
// llama3: the Llama 3.1 release (three bands by wavelength); yarn: Peng et al. 2023 (arXiv 2309.00071).
Rope MakeRope(const ModelConfig& config);

}  // namespace unimax
