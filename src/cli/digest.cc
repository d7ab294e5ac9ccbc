// SPDX-License-Identifier: Apache-2.0
// By the old names of libcrypto's SHA-256: the new ones (EVP) draw every cipher of the library into a static binary.
#include "cli/digest.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace unimax {

Result<std::string> FileDigest(const std::string& path, const std::function<void(uint64_t)>& progress) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return IoError("{}: {}", path, std::strerror(errno));
  SHA256_CTX state;
  SHA256_Init(&state);
  std::vector<unsigned char> block(4u << 20);
  uint64_t done = 0;
  for (size_t n = 0; (n = std::fread(block.data(), 1, block.size(), file.get())) > 0;) {
    SHA256_Update(&state, block.data(), n);
    done += n;
    progress(done);
  }
  if (std::ferror(file.get()) != 0) return IoError("{}: cannot be read: {}", path, std::strerror(errno));
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256_Final(digest, &state);
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace unimax
