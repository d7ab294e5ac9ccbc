// SPDX-License-Identifier: Apache-2.0
#include "base/flags.h"

#include <cstdlib>

namespace unimax {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

namespace {

// Where this user's programs keep what they can fetch again; "" when the environment does not say.
std::string UserCache() {
  if (const std::string cache = Environment("XDG_CACHE_HOME"); !cache.empty()) return cache;
  if (const std::string home = Environment("HOME"); !home.empty()) return home + "/.cache";
  return "";
}

}  // namespace

std::string CacheFolder() {
  const std::string cache = UserCache();
  return cache.empty() ? "" : cache + "/unimax";
}

std::string HubCacheFolder() {
  if (const std::string hub = Environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const std::string home = Environment("HF_HOME"); !home.empty()) return home + "/hub";
  const std::string cache = UserCache();
  return cache.empty() ? "" : cache + "/huggingface/hub";
}

}  // namespace unimax
