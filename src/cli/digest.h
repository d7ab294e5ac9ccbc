// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"

namespace unimax {

// The digest of a file's content as 64 small hexadecimal digits. `progress` hears how many bytes were read so far,
// every few MiB. Errors: kIo.
Result<std::string> FileDigest(const std::string& path, const std::function<void(uint64_t)>& progress);

}  // namespace unimax
