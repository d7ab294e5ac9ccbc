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
// The expressions of DeepSeek's published tokenizers. The first names letters one range at a time; of it CJK is no
// part.
constexpr std::string_view kNewline = R"([\r\n])";
constexpr std::string_view kDeepSeekLetters =
    R"(\s?[)"
    R"(\x{41}-\x{5a}\x{61}-\x{7a}\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c})"
    R"(\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5})"
    R"(\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77})"
    R"(\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57})"
    R"(\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4})"
    R"(\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102})"
    R"(\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134})"
    R"(\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})"
    R"(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787})"
    R"(\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a})"
    R"(\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943})"
    R"(]+)";
constexpr std::string_view kDeepSeekSigns =
    R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)";
constexpr std::string_view kDeepSeekEastAsian = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr std::string_view kDeepSeekV3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct KindRow {
  std::string_view name;  // `tokenizer.ggml.pre`
  bool nfc;               // the published tokenizer composes characters first
  bool ignore_merges;
  std::string_view isolate[6];  // expressions whose matches stand alone, in order
};
constexpr KindRow kKinds[] = {
    {"default", false, false, {kGpt2Pattern, ""}},
    {"gpt-2", false, false, {kGpt2Pattern, ""}},
    {"smollm", false, false, {kDigit, kGpt2Pattern}},
    {"starcoder", false, false, {kDigit, kGpt2Pattern}},
    {"phi", false, false, {kGpt2Pattern, ""}},
    {"phi-2", false, false, {kGpt2Pattern, ""}},
    {"deepseek-llm", false, false, {kNewline, kDeepSeekLetters, kDeepSeekSigns, R"(\s+$)", kDeepSeekEastAsian, kDigit}},
    {"deepseek-coder", false, false, {kNewline, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepSeekEastAsian, kDigit}},
    {"deepseek-v3", false, false, {R"(\p{N}{1,3})", R"([\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+)", kDeepSeekV3Words}},
    {"gpt-4o", false, false, {kO200k}},
    {"refact", false, false, {kDigit, kGpt2Pattern}},
    {"command-r", true, false, {kDigit, kGpt2Pattern}},
    {"llama-bpe", false, true, {kLlama3Pattern, ""}},
    {"llama3", false, true, {kLlama3Pattern, ""}},
    {"qwen2", true, false, {kQwen2Pattern, ""}},
    {"deepseek-r1-qwen", true, false, {kQwen2Pattern, ""}},
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
Status BuildSentencePiece(const VocabData& v, std::vector<AddedToken>& added, Tokenizer::Impl& impl) {
  if (v.scores.empty()) return BadModel("the vocabulary has no scores");
  for (AddedToken& token : added) {
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

Status UnknownKind(const std::string& kind) {
  std::string known;
  for (const KindRow& row : kKinds) known.append(known.empty() ? "" : ", ").append(row.name);
  return BadModel("pre-tokenizer '{}' is not supported; known are {}", kind, known);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromVocab(const VocabData& v) {
  UM_RETURN_IF_ERROR(CheckVocab(v));
  auto impl = std::make_unique<Impl>();
  std::vector<AddedToken> added;
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    const int id = static_cast<int>(i);
    impl->model_vocabulary.Add(v.tokens[i], id);
    const int type = v.types.empty() ? kNormal : v.types[i];
    if (type != kControl && type != kUser && !(type == kUnknown && v.model == "llama")) continue;
    AddedToken token;
    token.id = id;
    token.content = v.tokens[i];
    token.special = type != kUser;
    added.push_back(std::move(token));
  }
  if (v.model == "gpt2") {
    const KindRow* kind = nullptr;
    for (const KindRow& row : kKinds) {
      if (row.name == (v.pre.empty() ? "default" : v.pre)) kind = &row;
    }
    if (kind == nullptr) return UnknownKind(v.pre);
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
    // A space inside a piece is spelled as another character, so the first space after one byte parts the pair.
    const auto border = [](std::string_view merge) { return merge.find(' ', 1); };
    for (size_t i = 0; i < v.merges.size(); ++i) {
      if (border(v.merges[i]) == std::string::npos) return BadModel("merge {} of the vocabulary is not a pair", i);
    }
    const auto merges = [&, i = size_t{0}](BpeModel::Merge* merge) mutable {
      if (i == v.merges.size()) return false;
      const std::string_view pair = v.merges[i++];
      *merge = {pair.substr(0, border(pair)), pair.substr(border(pair) + 1)};
      return true;
    };
    BpeOptions options;
    options.ignore_merges = kind->ignore_merges;
    options.reads_bytes = true;
    UM_ASSIGN_OR_RETURN(impl->model, BpeModel::Make(impl->model_vocabulary, v.merges.size(), merges, options));
  } else if (v.model == "llama") {
    UM_RETURN_IF_ERROR(BuildSentencePiece(v, added, *impl));
  } else {
    return BadModel("vocabulary model '{}' is not supported", v.model);
  }
  impl->bos = v.bos;
  impl->eos = v.eos;
  impl->frame.clear();
  if (v.add_bos) impl->frame.push_back(v.bos);
  impl->frame.push_back(-1);
  if (v.add_eos) impl->frame.push_back(v.eos);
  UM_RETURN_IF_ERROR(impl->IndexAdded(added));
  return std::make_unique<Tokenizer>(std::move(impl));
}

}  // namespace unimax
