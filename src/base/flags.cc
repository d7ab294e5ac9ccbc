// SPDX-License-Identifier: Apache-2.0
#include "base/flags.h"

#include <cstdlib>

namespace unimax {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string CacheFolder() {
  if (const std::string cache = Environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/unimax";
  if (const std::string home = Environment("HOME"); !home.empty()) return home + "/.cache/unimax";
  return "";
}

}  // namespace unimax
