// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <string>

namespace unimax {
namespace {

std::atomic<LogLevel>& Level() {
  static std::atomic<LogLevel> level{LogLevel::kInfo};
  return level;
}

}  // namespace

void SetLogLevel(LogLevel level) { Level() = level; }

void WriteLog(LogLevel level, std::string_view line) {
  if (level > Level().load(std::memory_order_relaxed)) return;
  std::string out = "unimax: ";
  for (unsigned char c : line) {
    if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += static_cast<char>(c);
    }
  }
  out += '\n';
  std::fwrite(out.data(), 1, out.size(), stderr);
}

}  // namespace unimax
