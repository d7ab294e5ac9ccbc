// SPDX-License-Identifier: Apache-2.0
// A tokenizer's data as a GGUF file carries it (keys `tokenizer.ggml.*`, ggml-org/ggml docs/gguf.md): the bridge from
// weights/, which reads the file, to text/, which builds the tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace unimax {

struct VocabData {
  std::string model;                // `tokenizer.ggml.model`: "gpt2", "llama"
  std::string pre;                  // `tokenizer.ggml.pre`: "default", "smollm", "llama-bpe"
  std::vector<std::string> tokens;  // id -> piece, in the file's own spelling (gpt2: bytes mapped to printable letters)
  std::vector<float> scores;        // empty or one a token
  std::vector<int32_t> types;       // empty or one a token: 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte
  std::vector<std::string> merges;  // "left right", best first
  int bos = -1, eos = -1, unknown = -1, padding = -1;  // -1: none
  bool add_bos = false, add_eos = false, add_space_prefix = true;
  std::string chat_template;  // `tokenizer.chat_template`, "" when the file has none
};

}  // namespace unimax
