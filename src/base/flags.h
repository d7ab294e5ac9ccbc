// SPDX-License-Identifier: Apache-2.0
// The one place that reads the environment.
#pragma once

#include <string>

namespace unimax {

// The value of an environment variable, or "" when it is not set.
std::string Environment(const char* name);

// The model cache: $XDG_CACHE_HOME/unimax, or $HOME/.cache/unimax; "" when neither is set.
std::string CacheFolder();

// The cache of the Hugging Face hub, by its own rules: $HF_HUB_CACHE, else $HF_HOME/hub, else huggingface/hub beside
// the model cache; "" when none of them is set.
std::string HubCacheFolder();

}  // namespace unimax
