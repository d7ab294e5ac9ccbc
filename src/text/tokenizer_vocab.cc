// SPDX-License-Identifier: Apache-2.0
// Tokenizers from GGUF vocabularies (ggml-org/ggml docs/gguf.md). A pre-tokenizer kind names a published tokenizer; its
// row says how that one cuts text.
#include <algorithm>
#include <cmath>

#include "text/bpe.h"
#include "text/scanners.h"
#include "text/tokenizer_impl.h"
#include "text/word_models.h"

namespace unimax {
namespace {

constexpr std::string_view kDigit = R"(\p{N})";
struct KindRow {
  std::string_view name;  // `tokenizer.ggml.pre`
  bool nfc;               // the published tokenizer composes characters first
  bool ignore_merges;
  std::string_view isolate[2];  // expressions whose matches stand alone, in order
};
constexpr KindRow kKinds[] = {
    {"default", false, false, {kGpt2Pattern, ""}},    {"gpt-2", false, false, {kGpt2Pattern, ""}},
    {"smollm", false, false, {kDigit, kGpt2Pattern}}, {"starcoder", false, false, {kDigit, kGpt2Pattern}},
    {"refact", false, false, {kDigit, kGpt2Pattern}}, {"command-r", true, false, {kDigit, kGpt2Pattern}},
    {"llama-bpe", false, true, {kLlama3Pattern, ""}}, {"llama3", false, true, {kLlama3Pattern, ""}},
    {"qwen2", true, false, {kQwen2Pattern, ""}},      {"deepseek-r1-qwen", true, false, {kQwen2Pattern, ""}},
};

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUser = 4, kUnused = 5, kByte = 6 };

constexpr size_t kMaxVocabBytes = size_t{1} << 30;

Status CheckVocab(const VocabData& v) {
  const size_t n = v.tokens.size();
  if (n == 0) return BadModel("the vocabulary is empty");
  if (n > static_cast<size_t>(kMaxTokenId))
    return BadModel("the vocabulary has {} tokens; at most {} are read", n, kMaxTokenId);
  if (!v.types.empty() && v.types.size() != n) {
    return BadModel("the vocabulary has {} tokens and {} token types", n, v.types.size());
  }
  if (!v.scores.empty() && v.scores.size() != n) {
    return BadModel("the vocabulary has {} tokens and {} scores", n, v.scores.size());
  }
  size_t bytes = 0;
  for (const std::string& token : v.tokens) bytes += token.size();
  if (bytes > kMaxVocabBytes) {
    return BadModel("the vocabulary has {} bytes; at most {} are read", bytes, kMaxVocabBytes);
  }
  if (std::any_of(v.scores.begin(), v.scores.end(), [](float s) { return std::isnan(s); })) {
    return BadModel("a score of the vocabulary is not a number");
  }
  const auto check = [&](const char* name, int id) {
    if (id >= -1 && id < static_cast<int>(n)) return Status();
    return BadModel("the vocabulary's {} token is {}, outside its {} tokens", name, id, n);
  };
  UM_RETURN_IF_ERROR(check("BOS", v.bos));
  UM_RETURN_IF_ERROR(check("EOS", v.eos));
  UM_RETURN_IF_ERROR(check("unknown", v.unknown));
  UM_RETURN_IF_ERROR(check("padding", v.padding));
  if (v.add_bos && v.bos < 0) return BadModel("the vocabulary asks for a BOS token and names none");
  if (v.add_eos && v.eos < 0) return BadModel("the vocabulary asks for an EOS token and names none");
  return {};
}

// SentencePiece's BPE: spaces are marked, a text may begin with one more, and text without pieces becomes bytes.
Status BuildSentencePiece(const VocabData& v, Tokenizer::Impl& impl) {
  if (v.scores.empty()) return BadModel("the vocabulary has no scores");
  for (AddedToken& token : impl.added) {
    for (size_t at = 0; (at = token.content.find(kSpaceMark)) != std::string::npos;) {
      token.content.replace(at, kSpaceMark.size(), " ");
    }
  }
  if (v.add_space_prefix) {
    Normalizer::Step prefix;
    prefix.kind = Normalizer::Kind::kPrepend;
    prefix.text = kSpaceMark;
    impl.normalizer.AddStep(std::move(prefix));
  }
  Normalizer::Step mark;
  mark.kind = Normalizer::Kind::kReplace;
  mark.text = kSpaceMark;
  mark.pattern = Pattern::Literal(" ");
  impl.normalizer.AddStep(std::move(mark));
  Decoder::Step spaces;
  spaces.kind = Decoder::Kind::kReplace;
  spaces.text = " ";
  spaces.pattern = Pattern::Literal(std::string(kSpaceMark));
  impl.decoder.AddStep(std::move(spaces));
  for (const Decoder::Kind kind : {Decoder::Kind::kByteFallback, Decoder::Kind::kFuse, Decoder::Kind::kStrip}) {
    if (kind == Decoder::Kind::kStrip && !v.add_space_prefix) continue;
    Decoder::Step step;
    step.kind = kind;
    step.text = " ";
    step.start = 1;
    impl.decoder.AddStep(std::move(step));
  }
  UM_ASSIGN_OR_RETURN(impl.model, ScoredBpeModel::Make(impl.model_vocabulary, v.scores, {}, v.unknown));
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromVocab(const VocabData& v) {
  UM_RETURN_IF_ERROR(CheckVocab(v));
  auto impl = std::make_unique<Impl>();
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const int id = static_cast<int>(i);
    impl->model_vocabulary.Add(v.tokens[i], id);
    const int type = v.types.empty() ? kNormal : v.types[i];
    if (type != kControl && type != kUser && !(type == kUnknown && v.model == "llama")) continue;
    AddedToken token;
    token.id = id;
    token.content = v.tokens[i];
    token.special = type != kUser;
    impl->added.push_back(std::move(token));
  }
  if (v.model == "gpt2") {
    const KindRow* kind = nullptr;
    for (const KindRow& row : kKinds) {
      if (row.name == (v.pre.empty() ? "default" : v.pre)) kind = &row;
    }
    if (kind == nullptr) return BadModel("pre-tokenizer '{}' is not supported", v.pre);
    if (kind->nfc) {
      Normalizer::Step nfc;
      nfc.kind = Normalizer::Kind::kNfc;
      impl->normalizer.AddStep(std::move(nfc));
    }
    for (std::string_view regex : kind->isolate) {
      if (!regex.empty()) UM_RETURN_IF_ERROR(impl->pre_tokenizer.AddIsolate(regex));
    }
    impl->pre_tokenizer.AddByteLevel();
    impl->decoder.AddByteLevel();
    std::vector<BpeModel::PieceView> merges;
    merges.reserve(v.merges.size());
    for (size_t i = 0; i < v.merges.size(); ++i) {
      const std::string_view merge = v.merges[i];
      // A space inside a piece is spelled as another character, so the first space after one byte parts the pair.
      const size_t space = merge.find(' ', 1);
      if (space == merge.npos) return BadModel("merge {} of the vocabulary is not a pair", i);
      merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    BpeOptions options;
    options.ignore_merges = kind->ignore_merges;
    options.reads_bytes = true;
    UM_ASSIGN_OR_RETURN(impl->model, BpeModel::Make(impl->model_vocabulary, merges, options));
  } else if (v.model == "llama") {
    UM_RETURN_IF_ERROR(BuildSentencePiece(v, *impl));
  } else {
    return BadModel("vocabulary model '{}' is not supported", v.model);
  }
  impl->bos = v.bos;
  impl->eos = v.eos;
  impl->frame.clear();
  if (v.add_bos) impl->frame.push_back(v.bos);
  impl->frame.push_back(-1);
  if (v.add_eos) impl->frame.push_back(v.eos);
  impl->IndexAdded();
  return std::make_unique<Tokenizer>(std::move(impl));
}

}  // namespace unimax
