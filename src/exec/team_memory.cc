// SPDX-License-Identifier: Apache-2.0
#include "exec/team_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace unimax {

Result<Arena> Arena::Take(uint64_t bytes) {
  Arena arena;
  if (bytes == 0) return arena;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return IoError("cannot take {} bytes of memory: {}", bytes, std::strerror(errno));
  // A pass over weights in small pages misses the translation cache on every fourth kilobyte. Refusal is no error.
  madvise(data, bytes, MADV_HUGEPAGE);
  arena.data_ = static_cast<std::byte*>(data);
  arena.bytes_ = bytes;
  return arena;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace unimax
