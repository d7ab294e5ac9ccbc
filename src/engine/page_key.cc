// SPDX-License-Identifier: Apache-2.0
#include "engine/page_key.h"

#include <fmt/format.h>

#include "engine/sha256.h"

namespace unimax {
namespace {

class Sha256Hasher : public PageHasher {
  PageKey Digest(std::span<const std::byte> head, std::span<const std::byte> tail) override {
    return {hash_.Add(head).Add(tail).End()};
  }

  Sha256 hash_;
};

}  // namespace

PageKey PageHasher::Root(const PrefixScope& scope) {
  std::string text = "unimax kv page 1";  // a version: changes when the layout of pages does
  // Each part with its length in front, so that no two lists of parts give the same bytes.
  for (const std::string& part : {scope.model_digest, scope.kv_type, std::to_string(scope.page_tokens), scope.adapter,
                                  scope.name_space, scope.sum_order}) {
    text += fmt::format("\n{}:{}", part.size(), part);
  }
  return Digest(std::as_bytes(std::span(text)), {});
}

PageKey PageHasher::Next(const PageKey& parent, std::span<const int> ids) {
  return Digest(std::as_bytes(std::span(parent.bytes)), std::as_bytes(ids));
}

std::unique_ptr<PageHasher> MakeSha256Hasher() { return std::make_unique<Sha256Hasher>(); }

}  // namespace unimax
