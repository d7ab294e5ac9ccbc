// SPDX-License-Identifier: Apache-2.0
#include "engine/sha256.h"

#include <openssl/evp.h>

#include "base/status.h"

namespace unimax {

// One context for all digests: OpenSSL allocates when a context is made, not when it starts over.
struct Sha256::State {
  struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  struct FreeDigest {
    void operator()(EVP_MD* digest) const { EVP_MD_free(digest); }
  };
  std::unique_ptr<EVP_MD, FreeDigest> digest{EVP_MD_fetch(nullptr, "SHA256", nullptr)};
  std::unique_ptr<EVP_MD_CTX, FreeContext> context{EVP_MD_CTX_new()};

  void Begin() { UM_CHECK(EVP_DigestInit_ex2(context.get(), digest.get(), nullptr) == 1); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  UM_CHECK(state_->digest != nullptr && state_->context != nullptr);
  state_->Begin();
}

Sha256::Sha256(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

Sha256& Sha256::Add(std::span<const std::byte> bytes) {
  UM_CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::AddText(std::string_view text) { return AddNumber(text.size()).Add(std::as_bytes(std::span(text))); }

Sha256& Sha256::AddNumber(uint64_t value) {
  std::array<std::byte, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  return Add(bytes);
}

Sha256Digest Sha256::End() {
  Sha256Digest digest;
  UM_CHECK(EVP_DigestFinal_ex(state_->context.get(), digest.data(), nullptr) == 1);
  state_->Begin();
  return digest;
}

}  // namespace unimax
