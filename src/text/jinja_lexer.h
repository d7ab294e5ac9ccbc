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

struct Place {
  int line = 1, column = 1;  // characters, counted from 1
};

// The error of a template: "chat template line 3, column 7: <reason>".
inline Status ErrorAt(const Place& place, std::string_view reason) {
  return BadModel("chat template line {}, column {}: {}", place.line, place.column, reason);
}

struct Token {
  Tok type = Tok::kEnd;
  std::string text;  // kSign: the operator; kString: its value; numbers without underscores
  Place place;
};

// Errors: kBadModel with line and column. The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace unimax::jinja
