// SPDX-License-Identifier: Apache-2.0
// Row B07: any bytes as a tokenizer.json or a tokenizer.model; what loads must encode and decode.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/tokenizer.h"

namespace {

void Use(const unimax::Tokenizer& t) {
  for (const std::string_view text : {"Hello w\xc3\xb6rld 123\n", "<s>\xe4\xb8\xad \xf0\x9f\x98\x80's", "\xff a  b"}) {
    const auto ids = t.Encode(text, true);
    for (const int id : ids) UM_CHECK(id >= 0 && id < t.vocab_size());
    UM_CHECK(t.EncodeOffsets(text, true).size() == ids.size());
    static_cast<void>(t.Decode(ids, false));
    unimax::StreamDecoder stream(t, true);
    for (const int id : ids) static_cast<void>(stream.Add(id));
    static_cast<void>(stream.Flush());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const bool json = bytes.find('{') < 8;
  const auto made = json ? unimax::Tokenizer::FromJson(bytes) : unimax::Tokenizer::FromSentencePiece(bytes, {});
  if (made.ok()) {
    Use(**made);
  } else {
    UM_CHECK(made.status().kind() == unimax::ErrorKind::kBadModel && !made.status().text().empty());
  }
  return 0;
}
