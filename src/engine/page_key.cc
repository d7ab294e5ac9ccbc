// SPDX-License-Identifier: Apache-2.0
#include "engine/page_key.h"

#include <openssl/evp.h>

#include "base/status.h"

namespace unimax {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
struct FreeDigest {
  void operator()(EVP_MD* digest) const { EVP_MD_free(digest); }
};

// One context for all hashes: OpenSSL allocates when a context is made, not when it starts over.
class Sha256Hasher : public PageHasher {
 public:
  Sha256Hasher() : digest_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
    UM_CHECK(digest_ != nullptr && context_ != nullptr);
  }

 private:
  PageKey Digest(std::span<const std::byte> head, std::span<const std::byte> tail) override {
    PageKey key;
    const bool done = EVP_DigestInit_ex2(context_.get(), digest_.get(), nullptr) == 1 &&
                      EVP_DigestUpdate(context_.get(), head.data(), head.size()) == 1 &&
                      EVP_DigestUpdate(context_.get(), tail.data(), tail.size()) == 1 &&
                      EVP_DigestFinal_ex(context_.get(), key.bytes.data(), nullptr) == 1;
    UM_CHECK(done);
    return key;
  }

  std::unique_ptr<EVP_MD, FreeDigest> digest_;
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
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
