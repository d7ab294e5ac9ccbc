// SPDX-License-Identifier: Apache-2.0
#include "cli/input.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

namespace unimax {

Result<std::string> ReadInput(const std::string& path, size_t limit) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : path;
  std::error_code error;
  if (!standard && std::filesystem::is_directory(path, error)) return IoError("{}: is a folder, not a file", path);
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> own;
  if (!standard) {
    own.reset(std::fopen(path.c_str(), "rb"));
    if (own == nullptr) return IoError("{}: {}", name, std::strerror(errno));
  }
  std::FILE* file = standard ? stdin : own.get();
  std::string text;
  char block[1 << 16];
  for (size_t n = 0; (n = std::fread(block, 1, sizeof(block), file)) > 0;) {
    text.append(block, n);
    if (text.size() > limit) return UsageError("{}: more than {} bytes", name, limit);
  }
  if (std::ferror(file) != 0) return IoError("{}: cannot be read: {}", name, std::strerror(errno));
  return text;
}

}  // namespace unimax
