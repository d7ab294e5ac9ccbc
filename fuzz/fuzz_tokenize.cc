// SPDX-License-Identifier: Apache-2.0
// Any bytes as a text: byte-level tokenizers give it back, whatever the pattern cuts; offsets stay inside it.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/scanners.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace unimax {
namespace {

// A byte-level vocabulary with some merges, once for each of several kinds of pre-tokenizer.
std::vector<std::unique_ptr<Tokenizer>> Make() {
  std::vector<std::unique_ptr<Tokenizer>> made;
  for (const char* pre : {"gpt-2", "llama-bpe", "starcoder", "deepseek-v3", "gpt-4o"}) {
    VocabData v;
    v.model = "gpt2";
    v.pre = pre;
    for (int b = 0; b < 256; ++b) v.tokens.push_back(BytesToChars(std::string(1, static_cast<char>(b))));
    for (const char* pair : {"t h", "th e", "a a", "aa aa", "1 2", "\xc4\xa0 t", "\xc4\xa0 \xc4\xa0"}) {
      const std::string_view merge(pair);
      const size_t space = merge.find(' ', 1);
      v.merges.emplace_back(merge);
      v.tokens.push_back(std::string(merge.substr(0, space)) + std::string(merge.substr(space + 1)));
    }
    v.tokens.emplace_back("<|end|>");
    v.types.assign(v.tokens.size(), 1);
    v.types.back() = 3;
    auto tokenizer = Tokenizer::FromVocab(v);
    UM_CHECK(tokenizer.ok());
    made.push_back(std::move(*tokenizer));
  }
  return made;
}

}  // namespace
}  // namespace unimax

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizers = unimax::Make();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& t : tokenizers) {
    const auto ids = t->Encode(text, false);
    UM_CHECK(t->Decode(ids, false) == unimax::utf8::Sanitize(text));
    const auto tokens = t->EncodeOffsets(text, false);
    UM_CHECK(tokens.size() == ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      UM_CHECK(tokens[i].id == ids[i] && tokens[i].begin <= tokens[i].end && tokens[i].end <= size);
    }
  }
  return 0;
}
