// SPDX-License-Identifier: Apache-2.0
// Times prefill and decode of a model by batch and context, and the machine's read rate in the same process.
#pragma once

#include <string>
#include <vector>

#include "engine/model.h"

namespace unimax {

struct Measurement {
  int batch = 1, context = 0;
  double prefill_ms = 0;                   // all sequences' prompts of `context` tokens
  double decode_ms = 0;                    // a step of `batch` tokens: median
  double decode_low = 0, decode_high = 0;  // the quartiles
  double bytes = 0;                        // weights and KV that the step must read
  double kv_bytes = 0;                     // of them, K and V
  GuardCount guard = {};                   // of the decode steps
};

// Fills `batch` sequences with `context` tokens, then times `steps` decode steps; each step takes the ids of the one
// before. The model must have been loaded for that many sequences and context + steps tokens.
Result<Measurement> Measure(Model& model, int batch, int context, int steps);

}  // namespace unimax
