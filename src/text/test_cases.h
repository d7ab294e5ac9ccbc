// SPDX-License-Identifier: Apache-2.0
// Tokenizers beside what PyPI's `tokenizers` and `sentencepiece` were recorded to give. A case is a line with
//   "text", its "ids" and, with special tokens, "ids_special"; or "decode_only", ids without a text;
//   "decode_skip", the text of those ids (of "ids_special") without special tokens, and "decode", with them. Where
//   there is no "decode_skip", "decode" is the text of "ids" without special tokens, as `sentencepiece` gives it.
// Members other than the first may be missing. [text, ids] is short for a line of both.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace unimax {

struct CaseReport {
  int cases = 0, wrong = 0;
  std::string shown;  // the first wrong ones: what was given, got and wanted
};

// A tokenizer.json, a tokenizer.model (`sentencepiece`: text never becomes a control token, BOS and EOS are added) or a
// vocabulary as GGUF, by the name's end; each also with ".gz" behind it.
Result<std::unique_ptr<Tokenizer>> LoadTestTokenizer(const std::string& path);
// Encoding, decoding and decoding id by id.
CaseReport CheckCases(const Tokenizer& tokenizer, const std::vector<nlohmann::ordered_json>& lines);

}  // namespace unimax
