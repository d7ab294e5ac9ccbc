// SPDX-License-Identifier: Apache-2.0
// Tokenizers from Hugging Face tokenizer.json files, as the package `tokenizers` 0.23 reads them.
#include <nlohmann/json.hpp>

#include "base/json_walk.h"
#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_parts.h"
#include "text/word_models.h"

namespace unimax {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = 64u << 20;
constexpr size_t kMaxFrame = 65536;
constexpr uint64_t kFreeIds = 262'144;  // ids that need no tokens below them
constexpr int kMaxWordChars = 4096;     // cutting a word takes time quadratic in its length

const json& Part(const json& root, const char* key) {
  static const json none;
  const auto it = root.find(key);
  return it == root.end() ? none : *it;
}

// `where` is the member of tokenizer.json that holds the id.
Result<int> IdOf(const json& value, const char* where) {
  if (!value.is_number_integer() || value < 0 || value > kMaxTokenId) {
    return BadModel("a token id in the tokenizer's {} is not a whole number from 0 to {}", where, kMaxTokenId);
  }
  return value.get<int>();
}

// Ids may leave gaps, but not such that tables by id are out of proportion to the file.
Status CheckIds(uint64_t largest, size_t tokens) {
  if (largest <= kFreeIds + 2 * tokens) return {};
  return BadModel("the tokenizer has a token id {} and only {} tokens", largest, tokens);
}

Status ReadVocab(const TokenizerParts& parts, Vocabulary& vocabulary) {
  if (parts.vocab.form != PieceMember::Form::kObject) return BadModel("the tokenizer's vocab is not an object");
  UM_RETURN_IF_ERROR(parts.vocab.problem);
  const PieceLog& log = parts.vocab.log;
  UM_RETURN_IF_ERROR(CheckIds(log.largest(), log.size()));
  vocabulary.Reserve(log.size(), log.size() > 0 ? static_cast<size_t>(log.largest()) + 1 : 0, log.bytes());
  PieceLog::Reader reader(log);
  std::string_view piece;
  for (uint64_t number = 0; reader.Next(&piece, &number);) {
    const int id = static_cast<int>(number);
    const int before = vocabulary.Add(piece, id, true);
    if (before >= 0 && before != id && vocabulary.Piece(before) == piece) vocabulary.Drop(before);
  }
  return {};
}

Result<std::unique_ptr<SubwordModel>> ReadBpe(const TokenizerParts& parts, const json& model, bool bytes,
                                              Vocabulary& vocabulary) {
  UM_RETURN_IF_ERROR(ReadVocab(parts, vocabulary));
  if (parts.merges.form != PieceMember::Form::kList) return BadModel("the tokenizer's merges is not a list");
  UM_RETURN_IF_ERROR(parts.merges.problem);
  BpeOptions options;
  options.reads_bytes = bytes;
  UM_ASSIGN_OR_RETURN(options.fuse_unknown, BoolAt(model, "fuse_unk", false));
  UM_ASSIGN_OR_RETURN(options.byte_fallback, BoolAt(model, "byte_fallback", false));
  UM_ASSIGN_OR_RETURN(options.ignore_merges, BoolAt(model, "ignore_merges", false));
  UM_ASSIGN_OR_RETURN(options.continuing_prefix, TextAt(model, "continuing_subword_prefix", ""));
  UM_ASSIGN_OR_RETURN(options.word_suffix, TextAt(model, "end_of_word_suffix", ""));
  UM_ASSIGN_OR_RETURN(const std::string unknown, TextAt(model, "unk_token", ""));
  if (!unknown.empty()) options.unknown = vocabulary.Find(unknown);
  const auto merges = [reader = PieceLog::Reader(parts.merges.log)](BpeModel::Merge* merge) mutable {
    std::string_view pair;
    uint64_t left = 0;
    if (!reader.Next(&pair, &left)) return false;
    *merge = {pair.substr(0, static_cast<size_t>(left)), pair.substr(static_cast<size_t>(left))};
    return true;
  };
  UM_ASSIGN_OR_RETURN(std::unique_ptr<BpeModel> bpe,
                      BpeModel::Make(vocabulary, parts.merges.log.size(), merges, std::move(options)));
  return std::unique_ptr<SubwordModel>(std::move(bpe));
}

// Control tokens stand among the pieces, but text becomes them only as added tokens: a message must not spell one.
Result<std::unique_ptr<SubwordModel>> ReadUnigram(const TokenizerParts& parts, const json& model,
                                                  Vocabulary& vocabulary) {
  const PieceLog& log = parts.vocab.log;
  if (parts.vocab.form == PieceMember::Form::kList) UM_RETURN_IF_ERROR(parts.vocab.problem);
  if (parts.vocab.form != PieceMember::Form::kList || log.size() == 0) {
    return BadModel("the tokenizer's vocab is not a list of pieces and scores");
  }
  vocabulary.Reserve(log.size(), log.size(), log.bytes());
  std::vector<double> scores;
  scores.reserve(log.size());
  PieceLog::Reader reader(log);
  std::string_view piece;
  for (uint64_t packed = 0; reader.Next(&piece, &packed);) {
    vocabulary.Add(piece, static_cast<int>(scores.size()), true);
    scores.push_back(UnpackScore(packed));
  }
  UM_ASSIGN_OR_RETURN(const int unknown, IntAt(model, "unk_id", -1));
  if (unknown < -1 || unknown >= vocabulary.size()) return BadModel("the tokenizer's unk_id {} is not there", unknown);
  UM_ASSIGN_OR_RETURN(const bool bytes, BoolAt(model, "byte_fallback", false));
  std::vector<bool> usable(scores.size(), true);
  for (const AddedToken& token : parts.added) {
    if (token.special && token.id < vocabulary.size()) usable[static_cast<size_t>(token.id)] = false;
  }
  return std::unique_ptr<SubwordModel>(
      std::make_unique<UnigramModel>(vocabulary, usable, std::move(scores), unknown, bytes));
}

Result<std::unique_ptr<SubwordModel>> ReadWords(const TokenizerParts& parts, const json& model, bool pieces,
                                                Vocabulary& vocabulary) {
  UM_RETURN_IF_ERROR(ReadVocab(parts, vocabulary));
  UM_ASSIGN_OR_RETURN(const std::string unknown, TextAt(model, "unk_token", pieces ? "[UNK]" : "<unk>"));
  const int id = vocabulary.Find(unknown);
  if (!pieces) return std::unique_ptr<SubwordModel>(std::make_unique<WordLevelModel>(vocabulary, id));
  UM_ASSIGN_OR_RETURN(const std::string prefix, TextAt(model, "continuing_subword_prefix", "##"));
  UM_ASSIGN_OR_RETURN(const int longest, IntAt(model, "max_input_chars_per_word", 100));
  if (longest < 0 || longest > kMaxWordChars) {
    return BadModel("the tokenizer reads words of up to {} characters; at most {} are supported", longest,
                    kMaxWordChars);
  }
  return std::unique_ptr<SubwordModel>(
      std::make_unique<WordPieceModel>(vocabulary, id, prefix, static_cast<size_t>(longest)));
}

Result<std::unique_ptr<SubwordModel>> ReadModel(const TokenizerParts& parts, bool bytes, Vocabulary& vocabulary) {
  const json& model = Part(parts.rest, "model");
  if (!model.is_object()) return BadModel("the tokenizer has no model");
  std::string type = "BPE";  // old files do not say; they hold merges
  if (!Part(model, "type").is_null() || parts.merges.form == PieceMember::Form::kNone) {
    UM_ASSIGN_OR_RETURN(type, TypeOf(model, "model"));
  }
  if (type == "BPE") return ReadBpe(parts, model, bytes, vocabulary);
  if (type == "Unigram") return ReadUnigram(parts, model, vocabulary);
  if (type == "WordPiece" || type == "WordLevel") return ReadWords(parts, model, type == "WordPiece", vocabulary);
  return BadModel("tokenizer model '{}' is not supported", type);
}

// The ids of a special token of a TemplateProcessing.
Status AppendSpecial(const json& processor, const std::string& name, std::vector<int>& frame) {
  const json& specials = Part(processor, "special_tokens");
  const json& entry = specials.is_object() ? Part(specials, name.c_str()) : specials;
  const json& ids = entry.is_object() ? Part(entry, "ids") : entry;
  if (!ids.is_array()) return BadModel("the tokenizer's template names '{}', which has no ids", Printable(name));
  for (const json& id : ids) {
    UM_ASSIGN_OR_RETURN(const int number, IdOf(id, "vocab"));
    frame.push_back(number);
  }
  return {};
}

Result<int> PairId(const json& processor, const char* key) {
  const json& pair = Part(processor, key);
  if (!pair.is_array() || pair.size() != 2) return BadModel("the tokenizer's '{}' is not a token and its id", key);
  return IdOf(pair[1], "post_processor");
}

// Puts the processor's tokens around what `frame` already holds.
Status ReadProcessor(const json& processor, int depth, std::vector<int>& frame) {
  if (processor.is_null()) return {};
  UM_ASSIGN_OR_RETURN(const std::string type, TypeOf(processor, "post-processor"));
  std::vector<int> outer;
  if (type == "ByteLevel") {
    return {};
  } else if (type == "Sequence") {
    if (depth > kMaxNesting) return BadModel("the tokenizer's post-processors are nested too deep");
    UM_ASSIGN_OR_RETURN(const json* list, ListAt(processor, "processors"));
    for (const json& item : *list) UM_RETURN_IF_ERROR(ReadProcessor(item, depth + 1, frame));
    return {};
  } else if (type == "TemplateProcessing") {
    UM_ASSIGN_OR_RETURN(const json* single, ListAt(processor, "single"));
    for (const json& item : *single) {
      if (!item.is_object()) return BadModel("the tokenizer's template holds something that is not an object");
      if (item.contains("Sequence")) {
        outer.insert(outer.end(), frame.begin(), frame.end());
      } else {
        UM_ASSIGN_OR_RETURN(const std::string name, TextAt(Part(item, "SpecialToken"), "id"));
        UM_RETURN_IF_ERROR(AppendSpecial(processor, name, outer));
      }
      if (outer.size() > kMaxFrame) return BadModel("the tokenizer's template is too long");
    }
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    UM_ASSIGN_OR_RETURN(const int cls, PairId(processor, "cls"));
    UM_ASSIGN_OR_RETURN(const int sep, PairId(processor, "sep"));
    outer.push_back(cls);
    outer.insert(outer.end(), frame.begin(), frame.end());
    outer.push_back(sep);
  } else {
    return BadModel("post-processor '{}' of the tokenizer is not supported", type);
  }
  frame = std::move(outer);
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view text) {
  if (text.size() > kMaxBytes)
    return BadModel("the tokenizer has {} bytes; at most {} are read", text.size(), kMaxBytes);
  UM_ASSIGN_OR_RETURN(const TokenizerParts parts, ReadTokenizerParts(text));
  const json& root = parts.rest;
  auto impl = std::make_unique<Impl>();
  UM_ASSIGN_OR_RETURN(impl->normalizer, Normalizer::FromJson(Part(root, "normalizer")));
  UM_ASSIGN_OR_RETURN(impl->pre_tokenizer, PreTokenizer::FromJson(Part(root, "pre_tokenizer")));
  UM_ASSIGN_OR_RETURN(impl->decoder, Decoder::FromJson(Part(root, "decoder")));
  UM_ASSIGN_OR_RETURN(impl->model, ReadModel(parts, impl->pre_tokenizer.ends_in_bytes(), impl->model_vocabulary));
  const size_t tokens = parts.vocab.log.size() + parts.added.size();
  for (const AddedToken& token : parts.added) UM_RETURN_IF_ERROR(CheckIds(static_cast<uint64_t>(token.id), tokens));
  UM_RETURN_IF_ERROR(ReadProcessor(Part(root, "post_processor"), 0, impl->frame));
  UM_RETURN_IF_ERROR(impl->IndexAdded(parts.added));
  for (int id : impl->frame) {
    if (id >= impl->vocabulary.size())
      return BadModel("the tokenizer's template adds token {}, which is not there", id);
  }
  return std::make_unique<Tokenizer>(std::move(impl));
}

}  // namespace unimax
