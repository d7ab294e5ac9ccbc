// SPDX-License-Identifier: Apache-2.0
// For tests: whole files in memory, and writers of small GGUF and safetensors files, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace unimax {

inline std::string DataPath(std::string_view relative) {
  return std::string(UM_SOURCE_DIR) + "/tests/data/" + std::string(relative);
}

inline std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void WriteAll(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
std::string Raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}
inline std::string U32(uint64_t v) { return Raw(static_cast<uint32_t>(v)); }
inline std::string U64(uint64_t v) { return Raw(v); }
inline std::string GgufString(std::string_view s) { return U64(s.size()) + std::string(s); }
// Key, value type, value.
inline std::string GgufKey(std::string_view key, uint32_t type, const std::string& value) {
  return GgufString(key) + U32(type) + value;
}
inline std::string GgufText(std::string_view key, std::string_view value) { return GgufKey(key, 8, GgufString(value)); }
inline std::string GgufU32(std::string_view key, uint64_t value) { return GgufKey(key, 4, U32(value)); }
// `dims` innermost first, as in the file.
inline std::string GgufTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                              uint64_t offset) {
  std::string out = GgufString(name) + U32(dims.size());
  for (const uint64_t d : dims) out += U64(d);
  return out + U32(type) + U64(offset);
}
inline std::string GgufBytes(const std::vector<std::string>& keys, const std::vector<std::string>& tensors,
                             std::string_view data = {}) {
  std::string out = "GGUF" + U32(3) + U64(tensors.size()) + U64(keys.size());
  for (const std::string& k : keys) out += k;
  for (const std::string& t : tensors) out += t;
  if (!tensors.empty()) out.resize((out.size() + 31) / 32 * 32);
  return out.append(data);
}
inline std::string SafetensorsBytes(std::string_view header, std::string_view data = {}) {
  return U64(header.size()) + std::string(header) + std::string(data);
}

// A small generator of numbers that is the same everywhere (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t Below(uint64_t n) { return Next() % n; }

 private:
  uint64_t state_;
};

// A folder that is removed at the end.
class TempFolder {
 public:
  explicit TempFolder(std::string_view name)
      : path_((std::filesystem::temp_directory_path() /
               ("unimax-" + std::string(name) + "-" + std::to_string(reinterpret_cast<uintptr_t>(this))))
                  .string()) {
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace unimax
