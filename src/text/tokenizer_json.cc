// SPDX-License-Identifier: Apache-2.0
// Tokenizers from Hugging Face tokenizer.json files, as the package `tokenizers` 0.23 reads them.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/bpe.h"
#include "text/json_fields.h"
#include "text/tokenizer_impl.h"
#include "text/word_models.h"

namespace unimax {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = 64u << 20;
constexpr size_t kMaxAdded = 65536;
constexpr int kMaxWordChars = 4096;  // cutting a word takes time quadratic in its length

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

Status ReadVocab(const json& model, Vocabulary& vocabulary) {
  const json& vocab = Part(model, "vocab");
  if (!vocab.is_object()) return BadModel("the tokenizer's vocab is not an object");
  for (const auto& [piece, id] : vocab.items()) {
    UM_ASSIGN_OR_RETURN(const int number, IdOf(id, "vocab"));
    vocabulary.Add(piece, number);
  }
  return {};
}

Result<std::vector<AddedToken>> ReadAdded(const json& root) {
  std::vector<AddedToken> added;
  const json& list = Part(root, "added_tokens");
  if (list.is_null()) return added;
  if (!list.is_array()) return BadModel("the tokenizer's added_tokens is not a list");
  if (list.size() > kMaxAdded)
    return BadModel("the tokenizer has {} added tokens; at most {} are read", list.size(), kMaxAdded);
  for (const json& item : list) {
    if (!item.is_object()) return BadModel("an added token of the tokenizer is not an object");
    AddedToken token;
    UM_ASSIGN_OR_RETURN(token.id, IdOf(Part(item, "id"), "added_tokens"));
    UM_ASSIGN_OR_RETURN(token.content, TextAt(item, "content"));
    UM_ASSIGN_OR_RETURN(token.special, BoolAt(item, "special", false));
    UM_ASSIGN_OR_RETURN(token.normalized, BoolAt(item, "normalized", !token.special));
    UM_ASSIGN_OR_RETURN(token.single_word, BoolAt(item, "single_word", false));
    UM_ASSIGN_OR_RETURN(token.left_strip, BoolAt(item, "lstrip", false));
    UM_ASSIGN_OR_RETURN(token.right_strip, BoolAt(item, "rstrip", false));
    added.push_back(std::move(token));
  }
  return added;
}

Result<std::unique_ptr<SubwordModel>> ReadBpe(const json& model, bool bytes, Vocabulary& vocabulary) {
  UM_RETURN_IF_ERROR(ReadVocab(model, vocabulary));
  std::vector<BpeModel::PieceView> merges;
  const json& list = Part(model, "merges");
  if (!list.is_array()) return BadModel("the tokenizer's merges is not a list");
  merges.reserve(list.size());
  for (const json& item : list) {
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.emplace_back(item[0].get_ref<const std::string&>(), item[1].get_ref<const std::string&>());
      continue;
    }
    const std::string_view pair = item.is_string() ? std::string_view(item.get_ref<const std::string&>()) : "";
    const size_t space = pair.find(' ');
    if (space == pair.npos || pair.find(' ', space + 1) != pair.npos) {
      return BadModel("merge {} of the tokenizer is not a pair", merges.size());
    }
    merges.emplace_back(pair.substr(0, space), pair.substr(space + 1));
  }
  BpeOptions options;
  options.reads_bytes = bytes;
  UM_ASSIGN_OR_RETURN(options.fuse_unknown, BoolAt(model, "fuse_unk", false));
  UM_ASSIGN_OR_RETURN(options.byte_fallback, BoolAt(model, "byte_fallback", false));
  UM_ASSIGN_OR_RETURN(options.ignore_merges, BoolAt(model, "ignore_merges", false));
  UM_ASSIGN_OR_RETURN(options.continuing_prefix, TextAt(model, "continuing_subword_prefix", ""));
  UM_ASSIGN_OR_RETURN(options.word_suffix, TextAt(model, "end_of_word_suffix", ""));
  UM_ASSIGN_OR_RETURN(const std::string unknown, TextAt(model, "unk_token", ""));
  if (!unknown.empty()) options.unknown = vocabulary.Find(unknown);
  UM_ASSIGN_OR_RETURN(std::unique_ptr<BpeModel> bpe, BpeModel::Make(vocabulary, merges, std::move(options)));
  return std::unique_ptr<SubwordModel>(std::move(bpe));
}

// Control tokens stand among the pieces, but text becomes them only as added tokens: a message must not spell one.
Result<std::unique_ptr<SubwordModel>> ReadUnigram(const json& model, const std::vector<AddedToken>& added,
                                                  Vocabulary& vocabulary) {
  const json& list = Part(model, "vocab");
  if (!list.is_array() || list.empty()) return BadModel("the tokenizer's vocab is not a list of pieces and scores");
  std::vector<double> scores;
  for (const json& item : list) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
      return BadModel("piece {} of the tokenizer is not a string and a score", scores.size());
    }
    vocabulary.Add(item[0].get_ref<const std::string&>(), static_cast<int>(scores.size()), true);
    scores.push_back(item[1].get<double>());
  }
  UM_ASSIGN_OR_RETURN(const int unknown, IntAt(model, "unk_id", -1));
  if (unknown < -1 || unknown >= vocabulary.size()) return BadModel("the tokenizer's unk_id {} is not there", unknown);
  UM_ASSIGN_OR_RETURN(const bool bytes, BoolAt(model, "byte_fallback", false));
  std::vector<bool> usable(scores.size(), true);
  for (const AddedToken& token : added) {
    if (token.special && token.id < vocabulary.size()) usable[static_cast<size_t>(token.id)] = false;
  }
  return std::unique_ptr<SubwordModel>(
      std::make_unique<UnigramModel>(vocabulary, usable, std::move(scores), unknown, bytes));
}

Result<std::unique_ptr<SubwordModel>> ReadWords(const json& model, bool pieces, Vocabulary& vocabulary) {
  UM_RETURN_IF_ERROR(ReadVocab(model, vocabulary));
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

Result<std::unique_ptr<SubwordModel>> ReadModel(const json& model, const std::vector<AddedToken>& added, bool bytes,
                                                Vocabulary& vocabulary) {
  if (!model.is_object()) return BadModel("the tokenizer has no model");
  std::string type = "BPE";  // old files do not say; they hold merges
  if (!Part(model, "type").is_null() || Part(model, "merges").is_null()) {
    UM_ASSIGN_OR_RETURN(type, TypeOf(model, "model"));
  }
  if (type == "BPE") return ReadBpe(model, bytes, vocabulary);
  if (type == "Unigram") return ReadUnigram(model, added, vocabulary);
  if (type == "WordPiece" || type == "WordLevel") return ReadWords(model, type == "WordPiece", vocabulary);
  return BadModel("tokenizer model '{}' is not supported", type);
}

// The ids of a special token of a TemplateProcessing.
Status AppendSpecial(const json& processor, const std::string& name, std::vector<int>& frame) {
  const json& specials = Part(processor, "special_tokens");
  const json& entry = specials.is_object() ? Part(specials, name.c_str()) : specials;
  const json& ids = entry.is_object() ? Part(entry, "ids") : entry;
  if (!ids.is_array()) return BadModel("the tokenizer's template names '{}', which has no ids", name);
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
      if (outer.size() > kMaxAdded) return BadModel("the tokenizer's template is too long");
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
  if (JsonDepth(text) > kMaxNesting) return BadModel("the tokenizer's JSON is nested deeper than {}", kMaxNesting);
  const json root = json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) return BadModel("the tokenizer is not a JSON object");
  auto impl = std::make_unique<Impl>();
  UM_ASSIGN_OR_RETURN(impl->normalizer, Normalizer::FromJson(Part(root, "normalizer")));
  UM_ASSIGN_OR_RETURN(impl->pre_tokenizer, PreTokenizer::FromJson(Part(root, "pre_tokenizer")));
  UM_ASSIGN_OR_RETURN(impl->decoder, Decoder::FromJson(Part(root, "decoder")));
  UM_ASSIGN_OR_RETURN(impl->added, ReadAdded(root));
  UM_ASSIGN_OR_RETURN(impl->model, ReadModel(Part(root, "model"), impl->added, impl->pre_tokenizer.ends_in_bytes(),
                                             impl->model_vocabulary));
  UM_RETURN_IF_ERROR(ReadProcessor(Part(root, "post_processor"), 0, impl->frame));
  impl->IndexAdded();
  for (int id : impl->frame) {
    if (id >= impl->vocabulary.size())
      return BadModel("the tokenizer's template adds token {}, which is not there", id);
  }
  return std::make_unique<Tokenizer>(std::move(impl));
}

}  // namespace unimax
