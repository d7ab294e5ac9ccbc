// SPDX-License-Identifier: Apache-2.0
#include "text/decoder.h"

#include <nlohmann/json.hpp>

#include "text/json_fields.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace unimax {
namespace {

using nlohmann::json;
using Kind = Decoder::Kind;
using Pieces = std::vector<std::string>;

struct KindRow {
  std::string_view name;
  Kind kind;
};
constexpr KindRow kKinds[] = {
    {"ByteLevel", Kind::kByteLevel}, {"Metaspace", Kind::kMetaspace}, {"ByteFallback", Kind::kByteFallback},
    {"Fuse", Kind::kFuse},           {"Strip", Kind::kStrip},         {"Replace", Kind::kReplace},
    {"WordPiece", Kind::kWordPiece}, {"BPEDecoder", Kind::kBpe},      {"CTC", Kind::kCtc}};

int Hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  if (from.empty()) return std::string(text);
  std::string out;
  size_t at = 0;
  for (size_t hit = text.find(from); hit != text.npos; hit = text.find(from, at)) {
    out.append(text.substr(at, hit - at)).append(to);
    at = hit + from.size();
  }
  return out.append(text.substr(at));
}

// Undoes the spaces that cutting put before English punctuation.
std::string Cleanup(std::string text) {
  constexpr std::string_view kPairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                            {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                            {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& p : kPairs) text = ReplaceAll(text, p[0], p[1]);
  return text;
}

Pieces ByteFallback(Pieces pieces) {
  Pieces out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (utf8::IsValid(bytes)) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.emplace_back("\xef\xbf\xbd");
    }
    bytes.clear();
  };
  for (std::string& p : pieces) {
    const int b = ByteOfPiece(p);
    if (b >= 0) {
      bytes += static_cast<char>(b);
    } else {
      flush();
      out.push_back(std::move(p));
    }
  }
  flush();
  return out;
}

std::string Strip(const Decoder::Step& step, std::string_view text) {
  size_t begin = 0;
  size_t end = text.size();
  for (int i = 0; i < step.start && text.substr(begin).starts_with(step.text); ++i) begin += step.text.size();
  for (int i = 0; i < step.stop && end >= begin && text.substr(begin, end - begin).ends_with(step.text); ++i) {
    end -= step.text.size();
  }
  return std::string(text.substr(begin, end - begin));
}

Pieces Ctc(const Decoder::Step& step, Pieces pieces) {
  Pieces out;
  const std::string* last = nullptr;
  for (const std::string& p : pieces) {
    const bool repeated = last != nullptr && *last == p;
    last = &p;
    if (repeated) continue;
    std::string text = ReplaceAll(p, step.text, "");
    if (step.cleanup) text = ReplaceAll(Cleanup(text), step.delimiter, " ");
    if (!text.empty()) out.push_back(std::move(text));
  }
  return out;
}

// google/sentencepiece, SentencePieceProcessor::Decode.
std::string SentencePiece(const Decoder::Step& step, const Pieces& pieces) {
  std::string text, bytes;
  const auto flush = [&] {  // unlike elsewhere each broken byte becomes one U+FFFD
    for (size_t i = 0; i < bytes.size();) {
      const utf8::Char c = utf8::At(bytes, i);
      const bool broken = c.code == 0xfffd && !std::string_view(bytes).substr(i).starts_with("\xef\xbf\xbd");
      utf8::Append(text, c.code);
      i += broken ? 1 : static_cast<size_t>(c.length);
    }
    bytes.clear();
  };
  bool dropped = false;
  for (const std::string& p : pieces) {
    if (const int b = ByteOfPiece(p); b >= 0) {
      bytes += static_cast<char>(b);
      continue;
    }
    flush();
    std::string_view piece = p;
    if (piece == step.text) {
      text += step.delimiter;
      dropped = false;
      continue;
    }
    const bool first = text.empty() && !dropped;
    const bool starts = step.drop_first && first && piece.starts_with(kSpaceMark);
    if (starts) piece.remove_prefix(kSpaceMark.size());
    dropped = starts && !step.cleanup;
    text += ReplaceAll(piece, kSpaceMark, " ");
  }
  flush();
  return text;
}

Pieces ApplyStep(const Decoder::Step& step, Pieces pieces) {
  const size_t n = pieces.size();
  switch (step.kind) {
    case Kind::kByteFallback:
      return ByteFallback(std::move(pieces));
    case Kind::kCtc:
      return Ctc(step, std::move(pieces));
    case Kind::kSentencePiece:
      return {SentencePiece(step, pieces)};
    case Kind::kByteLevel: {
      std::string bytes;
      for (const std::string& p : pieces) Decoder::AppendBytes(p, bytes);
      return {utf8::Sanitize(bytes)};
    }
    case Kind::kFuse: {
      std::string all;
      for (const std::string& p : pieces) all += p;
      return {std::move(all)};
    }
    case Kind::kMetaspace:
      for (size_t i = 0; i < n; ++i) {
        pieces[i] = ReplaceAll(pieces[i], step.text, i == 0 && step.drop_first ? "" : " ");
      }
      return pieces;
    case Kind::kStrip:
      for (std::string& p : pieces) p = Strip(step, p);
      return pieces;
    case Kind::kReplace:
      for (std::string& p : pieces) {
        std::string out;
        for (const Span& s : step.pattern.Cut(p)) {
          out += s.match ? std::string_view(step.text) : std::string_view(p).substr(s.begin, s.end - s.begin);
        }
        p = std::move(out);
      }
      return pieces;
    case Kind::kWordPiece:
      for (size_t i = 0; i < n; ++i) {
        std::string& p = pieces[i];
        if (i > 0) {
          if (p.starts_with(step.text)) {
            p.erase(0, step.text.size());
          } else {
            p.insert(0, 1, ' ');
          }
        }
        if (step.cleanup) p = Cleanup(std::move(p));
      }
      return pieces;
    case Kind::kBpe:
      for (size_t i = 0; i < n; ++i) pieces[i] = ReplaceAll(pieces[i], step.text, i + 1 == n ? "" : " ");
      return pieces;
  }
  return pieces;
}

}  // namespace

int ByteOfPiece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const int high = Hex(piece[3]);
  const int low = Hex(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void Decoder::AppendBytes(std::string_view piece, std::string& out) {
  const size_t before = out.size();
  for (size_t i = 0; i < piece.size();) {
    const utf8::Char c = utf8::At(piece, i);
    const int byte = CharToByte(c.code);
    if (byte < 0) {  // not spelled in byte characters (an added token): taken as it is
      out.resize(before);
      out += piece;
      return;
    }
    out += static_cast<char>(byte);
    i += static_cast<size_t>(c.length);
  }
}

Result<Decoder> Decoder::FromJson(const json& spec) {
  Decoder d;
  if (!spec.is_null()) UM_RETURN_IF_ERROR(d.Append(spec, 0));
  return d;
}

void Decoder::AddByteLevel() {
  Step step;
  step.kind = Kind::kByteLevel;
  steps_.push_back(std::move(step));
}

Status Decoder::Append(const json& spec, int depth) {
  UM_ASSIGN_OR_RETURN(const std::string type, TypeOf(spec, "decoder"));
  if (type == "Sequence") {
    return ForSequence(spec, "decoders", depth, [&](const json& item) { return Append(item, depth + 1); });
  }
  for (const KindRow& row : kKinds) {
    if (row.name != type) continue;
    Step step;
    step.kind = row.kind;
    switch (row.kind) {
      case Kind::kMetaspace: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "replacement", "\xe2\x96\x81"));
        UM_ASSIGN_OR_RETURN(const bool prefix, BoolAt(spec, "add_prefix_space", true));
        UM_ASSIGN_OR_RETURN(const std::string scheme, TextAt(spec, "prepend_scheme", prefix ? "always" : "never"));
        step.drop_first = scheme != "never";
        break;
      }
      case Kind::kStrip: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "content"));
        UM_ASSIGN_OR_RETURN(step.start, IntAt(spec, "start", 0));
        UM_ASSIGN_OR_RETURN(step.stop, IntAt(spec, "stop", 0));
        if (step.text.empty()) return BadModel("the tokenizer's decoder strips an empty text");
        break;
      }
      case Kind::kReplace: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "content"));
        UM_ASSIGN_OR_RETURN(step.pattern, PatternAt(spec));
        break;
      }
      case Kind::kWordPiece: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "prefix", "##"));
        UM_ASSIGN_OR_RETURN(step.cleanup, BoolAt(spec, "cleanup", true));
        break;
      }
      case Kind::kBpe: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "suffix", "</w>"));
        break;
      }
      case Kind::kCtc: {
        UM_ASSIGN_OR_RETURN(step.text, TextAt(spec, "pad_token", "<pad>"));
        UM_ASSIGN_OR_RETURN(step.delimiter, TextAt(spec, "word_delimiter_token", "|"));
        UM_ASSIGN_OR_RETURN(step.cleanup, BoolAt(spec, "cleanup", true));
        break;
      }
      default:
        break;
    }
    steps_.push_back(std::move(step));
    return {};
  }
  return BadModel("decoder '{}' of the tokenizer is not supported", type);
}

std::string Decoder::Apply(std::vector<std::string> pieces) const {
  if (steps_.empty()) {
    std::string out;
    for (size_t i = 0; i < pieces.size(); ++i) out.append(i > 0 ? " " : "").append(pieces[i]);
    return out;
  }
  for (const Step& step : steps_) pieces = ApplyStep(step, std::move(pieces));
  std::string out;
  for (const std::string& p : pieces) out += p;
  return out;
}

}  // namespace unimax
