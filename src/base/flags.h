// SPDX-License-Identifier: Apache-2.0
// The one place that reads the environment.
#pragma once

#include <string>

namespace unimax {

// The value of an environment variable, or "" when it is not set.
std::string Environment(const char* name);

// The model cache: $XDG_CACHE_HOME/unimax, or $HOME/.cache/unimax; "" when neither is set.
std::string CacheFolder();

}  // namespace unimax
