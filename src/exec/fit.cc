// SPDX-License-Identifier: Apache-2.0
#include "exec/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace unimax {

Status CheckFits(const MemoryUse& use, uint64_t free, const std::string& place, const ExecutorOptions& options,
                 const std::string& otherwise) {
  if (use.weights + use.kv + use.workspace <= free) return {};
  const auto gib = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 30); };
  const uint64_t others = use.weights + use.workspace;
  // Of one position in every sequence: --context counts the tokens of one.
  const uint64_t position = use.kv / static_cast<uint64_t>(std::max(options.max_pages * options.page_tokens, 1));
  const uint64_t room = others < free && position > 0 ? (free - others) / position : 0;
  const auto page = static_cast<uint64_t>(options.page_tokens);
  const std::string remedy = room >= page ? fmt::format("--context {} would fit", room / page * page) : otherwise;
  return NoDevice("{} has {:.2f} GiB free; weights {:.2f} + KV cache {:.2f} + workspace {:.2f} GiB do not fit: {}",
                  place, gib(free), gib(use.weights), gib(use.kv), gib(use.workspace), remedy);
}

uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("MemAvailable:", 0) == 0) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  }
  return UINT64_MAX;
}

}  // namespace unimax
