// SPDX-License-Identifier: Apache-2.0
// Bases of the exponent for rows with the unified softmax (kernels/gpu/softmax.h): for each layer and KV head the mean
// of the largest scores of a text's rows, by the model's own program. Kept in a file that a person names, since no plan
// takes such rows by itself:
//
//   unimax phi 1
//   layers 30 kv_heads 3 tokens 512
//   0 0 12.25 -1.5 40.75          layer, KV head: the mean, the least and the largest of the rows' largest scores
//
// A wrong base costs time alone: the guard makes a block do its tokens again.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"

namespace unimax {

struct SoftmaxBases {
  int layers = 0, kv_heads = 0;
  int64_t tokens = 0;                       // of the text
  std::vector<float> mean, least, largest;  // [layers, kv_heads]
};

// Runs the ids in windows; the first token of a window, which sees itself alone, counts as all others. The model must
// have been loaded with note_scores and for `window` tokens of context. `progress` hears (windows done, all windows).
// Errors: kUsage where the text is shorter than a window; of the executor; kInternal where a score is not finite.
Result<SoftmaxBases> MeasureSoftmaxBases(Model& model, std::span<const int> ids, int window,
                                         const std::function<void(int, int)>& progress);

std::string PrintSoftmaxBases(const SoftmaxBases& bases);
// Errors (kBadModel): the line that is wrong and why; other numbers of layers or KV heads than the program's.
Result<SoftmaxBases> ParseSoftmaxBases(std::string_view text, const Program& program);
// The same of a file; errors name it. kIo where it cannot be read.
Result<SoftmaxBases> ReadSoftmaxBases(const std::string& path, const Program& program);

}  // namespace unimax
