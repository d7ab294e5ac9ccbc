// SPDX-License-Identifier: Apache-2.0
// What commands read: files and standard input.
#pragma once

#include <string>

#include "base/status.h"

namespace unimax {

// The content of the file at `path`, "-" for standard input; at most `limit` bytes. Errors: kIo, and kUsage when it is
// larger.
Result<std::string> ReadInput(const std::string& path, size_t limit);

}  // namespace unimax
