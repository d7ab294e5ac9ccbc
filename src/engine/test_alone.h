// SPDX-License-Identifier: Apache-2.0
// For tests: what a model answers to one prompt without scheduler, engine or shared pages, straight over the executor.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "engine/model.h"

namespace unimax {

// `max_new` greedy ids, end ids included. One sequence in pages 0, 1, 2, ...
inline std::vector<int> GreedyAlone(Model& model, std::span<const int> prompt, int max_new) {
  std::vector<int> pages(static_cast<size_t>(model.limits().max_pages)), ids(prompt.begin(), prompt.end());
  std::iota(pages.begin(), pages.end(), 0);
  const int length = static_cast<int>(prompt.size()) + max_new;
  for (int at = 0, wanted = length; at < wanted - 1;) {
    const int count = std::min(static_cast<int>(ids.size()) - at, model.limits().max_tokens);
    std::vector<int> positions(static_cast<size_t>(count)), rope_rows, rows(static_cast<size_t>(count), 0), outputs;
    std::iota(positions.begin(), positions.end(), at);
    for (const int p : positions) rope_rows.push_back(RopeRow(model.program(), model.limits(), p, length));
    if (at + count == static_cast<int>(ids.size())) outputs.push_back(count - 1);
    const auto part = std::span<const int>(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(count));
    EXPECT_TRUE(model.executor().Run({part, positions, rows, pages, outputs, rope_rows}).ok());
    at += count;
    if (outputs.empty()) continue;
    const auto sampled = model.executor().Ids();
    EXPECT_TRUE(sampled.ok());
    ids.push_back((*sampled)[0]);
  }
  return {ids.begin() + static_cast<ptrdiff_t>(prompt.size()), ids.end()};
}

}  // namespace unimax
