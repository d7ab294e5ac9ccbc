// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json holds, read event by event: the members that grow with the vocabulary go into compact logs, the
// few others into a tree of bounded size. So memory stays a small multiple of the file's, whatever the file holds, and
// the order of its members does not matter.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/piece_log.h"
#include "text/vocabulary.h"

namespace unimax {

// A member that is a long list or object of entries of one form. An entry of another form ends the reading of the
// member; what is wrong with it is told only where the member is used.
struct PieceMember {
  enum class Form { kNone, kObject, kList, kOther };  // kNone: absent or null
  Form form = Form::kNone;
  PieceLog log;
  Status problem;
};

struct TokenizerParts {
  PieceMember vocab;   // kObject: a piece and its id; kList: a piece and its score, by PackScore
  PieceMember merges;  // kList: both parts joined, and the length of the first
  std::vector<AddedToken> added;
  nlohmann::json rest;  // the other members of the file that are used; of the model's own under "model"
};

// Scores as whole numbers that are small for short fractions.
uint64_t PackScore(double score);
double UnpackScore(uint64_t packed);

// Errors: kBadModel: not JSON, not an object, nested deeper than 64, a member that stands twice, a string of
// more than 700,000 bytes, more than 8192 values in the rest, wrong or too many added tokens.
Result<TokenizerParts> ReadTokenizerParts(std::string_view text);

}  // namespace unimax
