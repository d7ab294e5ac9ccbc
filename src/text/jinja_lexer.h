// SPDX-License-Identifier: Apache-2.0
// Cuts a template into tokens, with trim_blocks and lstrip_blocks on and the last newline dropped.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace unimax::jinja {

enum class Tok {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kInteger,
  kFloat,
  kString,
  kSign,
  kEnd
};

struct Token {
  Tok type = Tok::kEnd;
  std::string text;  // kSign: the operator; kString: its value; numbers without underscores
  int line = 0;
};

// Errors: kBadModel with the line. The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace unimax::jinja
