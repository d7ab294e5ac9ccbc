// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

namespace unimax {
namespace {

using Strings = std::vector<std::string_view>;

std::vector<std::string> Copy(const Strings& views) { return {views.begin(), views.end()}; }

// Reads optional keys: `out` keeps its value when the key is absent.
Status Flag(const GgufMetadata& metadata, std::string_view key, bool* out) {
  if (!metadata.Has(key)) return {};
  UM_ASSIGN_OR_RETURN(*out, metadata.Bool(key));
  return {};
}

Status Text(const GgufMetadata& metadata, std::string_view key, std::string* out) {
  if (!metadata.Has(key)) return {};
  UM_ASSIGN_OR_RETURN(const std::string_view text, metadata.String(key));
  *out = text;
  return {};
}

Status TokenId(const GgufMetadata& metadata, std::string_view key, size_t tokens, int* out) {
  if (!metadata.Has(key)) return {};
  UM_ASSIGN_OR_RETURN(const int64_t id, metadata.Integer(key));
  if (id == -1 || id == 0xffffffff) return {};  // some writers say "none" this way
  if (id < 0 || id >= static_cast<int64_t>(tokens))
    return BadModel("{}: key {} is {}, with {} tokens", metadata.file(), key, id, tokens);
  *out = static_cast<int>(id);
  return {};
}

}  // namespace

Result<VocabData> ReadGgufVocab(const GgufMetadata& metadata) {
  VocabData vocab;
  UM_ASSIGN_OR_RETURN(const std::string_view model, metadata.String("tokenizer.ggml.model"));
  vocab.model = model;
  UM_RETURN_IF_ERROR(Text(metadata, "tokenizer.ggml.pre", &vocab.pre));
  UM_ASSIGN_OR_RETURN(const Strings tokens, metadata.Strings("tokenizer.ggml.tokens"));
  if (tokens.empty()) return BadModel("{}: key tokenizer.ggml.tokens is empty", metadata.file());
  vocab.tokens = Copy(tokens);
  if (metadata.Has("tokenizer.ggml.merges")) {
    UM_ASSIGN_OR_RETURN(const Strings merges, metadata.Strings("tokenizer.ggml.merges"));
    vocab.merges = Copy(merges);
  }
  if (metadata.Has("tokenizer.ggml.scores")) {
    UM_ASSIGN_OR_RETURN(vocab.scores, metadata.Floats("tokenizer.ggml.scores"));
    if (vocab.scores.size() != tokens.size())
      return BadModel("{}: key tokenizer.ggml.scores has {} items for {} tokens", metadata.file(), vocab.scores.size(),
                      tokens.size());
  }
  if (metadata.Has("tokenizer.ggml.token_type")) {
    UM_ASSIGN_OR_RETURN(vocab.types, metadata.Integers("tokenizer.ggml.token_type"));
    if (vocab.types.size() != tokens.size())
      return BadModel("{}: key tokenizer.ggml.token_type has {} items for {} tokens", metadata.file(),
                      vocab.types.size(), tokens.size());
  }
  UM_RETURN_IF_ERROR(TokenId(metadata, "tokenizer.ggml.bos_token_id", tokens.size(), &vocab.bos));
  UM_RETURN_IF_ERROR(TokenId(metadata, "tokenizer.ggml.eos_token_id", tokens.size(), &vocab.eos));
  UM_RETURN_IF_ERROR(TokenId(metadata, "tokenizer.ggml.unknown_token_id", tokens.size(), &vocab.unknown));
  UM_RETURN_IF_ERROR(TokenId(metadata, "tokenizer.ggml.padding_token_id", tokens.size(), &vocab.padding));
  UM_RETURN_IF_ERROR(Flag(metadata, "tokenizer.ggml.add_bos_token", &vocab.add_bos));
  UM_RETURN_IF_ERROR(Flag(metadata, "tokenizer.ggml.add_eos_token", &vocab.add_eos));
  UM_RETURN_IF_ERROR(Flag(metadata, "tokenizer.ggml.add_space_prefix", &vocab.add_space_prefix));
  UM_RETURN_IF_ERROR(Text(metadata, "tokenizer.chat_template", &vocab.chat_template));
  return vocab;
}

}  // namespace unimax
