// SPDX-License-Identifier: Apache-2.0
// Keys and values in a file: the full pages of one prompt, for a later process that runs the same model in the same
// way. What does not agree in everything is not used, and nothing is taken from the file on its own word: every size is
// held to the length of the file first.
//
// Numbers are little-endian.
//
//     offset  bytes
//          0      8  "unimaxKV"
//          8      4  version: 1
//         12      4  pages: P, at least 1
//         16      4  page_tokens: T, positions a page
//         20      4  bytes of `form`: F
//         24      8  page_bytes: B
//         32      4  rope_set
//         36     12  layers, kv_heads, head_dim, 4 bytes each
//         48     32  digest of the weights
//         80     32  digest of the program
//        112      F  form
//      112+F    4PT  ids, from position 0
//          .     32  SHA-256 of all bytes before it
//          .         P times:
//                32    SHA-256 of the head's SHA-256, the page's number (8 bytes) and its content
//                 B    its content, as Executor::ReadPage gives it
//
// and there the file ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/new_file.h"
#include "base/status.h"
#include "engine/sha256.h"

namespace unimax {

// What decides the bytes in a page besides the ids.
struct KvKind {
  Sha256Digest weights{};  // prompt_cache.h
  Sha256Digest program{};  // prompt_cache.h
  std::string form;        // Executor::PageForm, and of which build; at most kMostForm bytes
  uint32_t page_tokens = 0, layers = 0, kv_heads = 0, head_dim = 0;
  uint32_t rope_set = 0;  // 1: keys are turned by the second set of frequencies
  uint64_t page_bytes = 0;
  bool operator==(const KvKind&) const = default;
};
constexpr size_t kMostForm = 1024;
constexpr uint64_t kMostKvFileTokens = 1 << 24;  // no context is longer

class KvFile {
 public:
  // Reads the head of `path` and checks that it is whole and of the kind `wanted`. Errors, one sentence that begins
  // with the path: kIo where the system refuses, kUsage for a file that is no such file, damaged, of another length
  // than it says, or of another kind.
  static Result<KvFile> Open(const std::string& path, const KvKind& wanted);
  KvFile(KvFile&& o) noexcept;
  KvFile& operator=(KvFile&&) = delete;
  ~KvFile();

  int pages() const { return pages_; }
  std::span<const int> ids() const { return ids_; }  // [pages * page_tokens]
  // Content of page `index`, checked. Errors: kIo; kUsage where it is not what was written. `to` is then spoilt.
  Status ReadPage(int index, std::span<std::byte> to /*[page_bytes]*/);

 private:
  KvFile(std::string path, int file) : path_(std::move(path)), file_(file) {}
  Status ReadHead(const KvKind& wanted);
  Status ReadAt(uint64_t offset, std::span<std::byte> to) const;
  Status Damaged(const std::string& what) const;

  std::string path_;
  int file_ = -1;
  int pages_ = 0;
  uint64_t page_bytes_ = 0, first_page_ = 0;  // of the file's bytes
  std::vector<int> ids_;
  Sha256Digest head_{};
  Sha256 hash_;
};

// Fills a file that was created before: Begin, then each page in order, then Finish. `ids` are whole pages. Errors:
// kIo.
class KvFileWriter {
 public:
  explicit KvFileWriter(NewFile& file) : file_(file) {}
  Status Begin(const KvKind& kind, std::span<const int> ids);
  Status AddPage(std::span<const std::byte> content /*[page_bytes]*/);
  Status Finish();

 private:
  NewFile& file_;
  int pages_ = 0, written_ = 0;
  uint64_t page_bytes_ = 0;
  Sha256Digest head_{};
  Sha256 hash_;
};

}  // namespace unimax
