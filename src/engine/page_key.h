// SPDX-License-Identifier: Apache-2.0
// The identity of a full KV page: a SHA-256 chain over all ids from position 0 to the page's end and over everything
// else that decides the bits in it. Equal keys mean equal keys and values, in this process and in any other.
// Source: the block hashes of vLLM's prefix cache (after arXiv 2309.06180), with a cryptographic hash because requests
// of strangers share the cache.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

namespace unimax {

struct PageKey {
  std::array<uint8_t, 32> bytes{};
  bool operator==(const PageKey&) const = default;
  uint64_t head() const {  // for hash tables
    uint64_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    return word;
  }
};

// What decides a page's content besides the ids. Two requests share pages only when all of it is equal.
struct PrefixScope {
  std::string model_digest;  // of the weights
  std::string kv_type;       // element type of the pool, "bf16"
  int page_tokens = 32;      // positions a page
  std::string adapter;       // empty: none
  std::string name_space;    // of the API key: tenants must not learn of each other's prompts by timing
  std::string sum_order;     // under --deterministic the plan's sum orders; empty otherwise
};

// The one place that knows the hash function.
class PageHasher {
 public:
  virtual ~PageHasher() = default;
  // The key before the first page. Allocates; made once a scope.
  PageKey Root(const PrefixScope& scope);
  // The key of the page that holds `ids` and follows the page (or root) `parent`. Does not allocate.
  PageKey Next(const PageKey& parent, std::span<const int> ids);

 private:
  virtual PageKey Digest(std::span<const std::byte> head, std::span<const std::byte> tail) = 0;
};

std::unique_ptr<PageHasher> MakeSha256Hasher();

}  // namespace unimax
