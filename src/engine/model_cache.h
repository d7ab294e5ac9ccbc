// SPDX-License-Identifier: Apache-2.0
// Where models lie on this machine.
#pragma once

#include <string>

#include "base/status.h"

namespace unimax {

// The path of `name`: itself if such a file or folder exists; else what the model cache (base/flags.h) holds under this
// name, as a file name.gguf or a folder; else, for names of the form owner/model, the snapshot that refs/main names in
// the cache of the Hugging Face hub, which is only read. Errors: kIo with the places that were looked at.
Result<std::string> ResolveModel(const std::string& name);

}  // namespace unimax
