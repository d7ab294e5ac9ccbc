// SPDX-License-Identifier: Apache-2.0
// A read-only file mapped into memory; the mapping lives as long as the object.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"

namespace unimax {

class MappedFile {
 public:
  // Errors: kIo with the path and the system's reason (missing, not a plain file, no permission). An empty file maps.
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& o) noexcept;
  MappedFile& operator=(MappedFile&& o) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Tells the system that these bytes are no longer needed in memory (they can be read again from the file).
  void Forget(std::span<const std::byte> range) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size);
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace unimax
