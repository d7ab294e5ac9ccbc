// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr: "unimax: words key=value ...". Control characters in a line are escaped, so that no outside text
// can forge a second line. Quiet by default at kInfo when stderr is not wanted: see SetLogLevel.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace unimax {

enum class LogLevel { kError = 0, kWarning = 1, kInfo = 2, kDebug = 3 };

// Set once, at start, before any thread is made.
void SetLogLevel(LogLevel level);
void WriteLog(LogLevel level, std::string_view line);

template <class... A>
void LogInfo(fmt::format_string<A...> f, A&&... a) {
  WriteLog(LogLevel::kInfo, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void LogWarning(fmt::format_string<A...> f, A&&... a) {
  WriteLog(LogLevel::kWarning, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace unimax
