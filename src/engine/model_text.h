// SPDX-License-Identifier: Apache-2.0
// The text side of a model: its tokenizer, its chat template and what its files say about generation. No weights.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"
#include "weights/checkpoint.h"

namespace unimax {

struct ModelText {
  std::unique_ptr<Tokenizer> tokenizer;  // null: the model has none
  std::string kind;  // where the tokenizer comes from: "GGUF gpt2", "tokenizer.json"; "" when there is none
  std::optional<ChatTemplate> chat_template;  // none: prompts go in as they are
  std::string chat_from;                      // where the template stands: "chat_template.jinja"; "" when there is none
  Status chat_error;                          // why there is none although the model brings one: only chats are refused
  std::string bos_token, eos_token;           // what templates see; "" when the model does not say
  SamplingDefaults sampling;
  std::vector<int> before, after;  // what the tokenizer puts around a raw text: BOS, EOS, ...

  // Ids of a raw text as the tokenizer wants it: what goes around a text stands there once, also where the text itself
  // spells it. `add_special` false: of the text alone.
  std::vector<int> EncodeText(std::string_view text, bool add_special = true) const;
  // Ids of a rendered conversation. BOS stands first once, whether the template, the tokenizer or both ask for it. EOS
  // is added likewise, unless an answer is to follow (`open`).
  std::vector<int> EncodeChat(const Rendered& rendered, bool open) const;
};

// Errors: kBadModel.
Result<ModelText> ReadModelText(const Checkpoint& checkpoint);

// `path` is what Checkpoint::Open takes; a folder needs no weights, and a tokenizer.json may stand alone.
Result<ModelText> OpenModelText(const std::string& path);

}  // namespace unimax
