// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_parts.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <set>
#include <string>
#include <utility>

#include "base/json_walk.h"

namespace unimax {
namespace {

using nlohmann::json;
using Kind = JsonEvent::Kind;
using Form = PieceMember::Form;

constexpr size_t kMaxAdded = 65536;
constexpr size_t kMaxRegexBytes = 32768;  // of all expressions: compiled, they take up to 200 times as much
constexpr size_t kMaxRunBytes = 700'000;  // twice the longest charsmap that is published
constexpr size_t kMaxNodes = 8192;        // values and keys of the rest; published files hold some dozens
constexpr std::string_view kFileMembers[] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};
constexpr std::string_view kModelMembers[] = {"type",
                                              "unk_token",
                                              "unk_id",
                                              "fuse_unk",
                                              "byte_fallback",
                                              "ignore_merges",
                                              "continuing_subword_prefix",
                                              "end_of_word_suffix",
                                              "max_input_chars_per_word"};

bool Opens(const JsonEvent& e) { return e.kind == Kind::kObject || e.kind == Kind::kArray; }

// Takes the events of one value. `depth` counts from the value: 0 is the value itself.
class ValueReader {
 public:
  virtual ~ValueReader() = default;
  virtual Status Take(const JsonEvent& event, int depth) = 0;
};

class Skipper final : public ValueReader {
 public:
  Status Take(const JsonEvent&, int) override { return {}; }
};

// Builds a json of one value.
class TreeReader final : public ValueReader {
 public:
  void Begin(json* root) { open_.assign(1, root); }
  Status Take(const JsonEvent& event, int depth) override {
    if (event.kind == Kind::kEnd) {
      open_.pop_back();
      return {};
    }
    if (++nodes_ > kMaxNodes) {
      return BadModel("the tokenizer has more than {} values beside its vocabulary and added tokens", kMaxNodes);
    }
    if (event.kind == Kind::kKey) {
      key_ = event.text;
      return {};
    }
    if (event.kind == Kind::kString && key_ == "Regex") regex_bytes_ += event.text.size();
    if (regex_bytes_ > kMaxRegexBytes) {
      return BadModel("the tokenizer's regular expressions have more than {} bytes", kMaxRegexBytes);
    }
    json* at = open_.back();
    if (depth > 0) at = at->is_array() ? &at->emplace_back() : &(*at)[key_];
    *at = Value(event);
    if (Opens(event)) open_.push_back(at);
    return {};
  }

 private:
  static json Value(const JsonEvent& event) {
    switch (event.kind) {
      case Kind::kObject:
        return json::object();
      case Kind::kArray:
        return json::array();
      case Kind::kString:
        return event.text;
      case Kind::kBool:
        return event.number != 0;
      case Kind::kUnsigned:
        return event.number;
      case Kind::kNegative:
        return static_cast<int64_t>(event.number);
      case Kind::kReal:
        return event.real;
      default:
        return nullptr;
    }
  }
  size_t nodes_ = 0, regex_bytes_ = 0;  // of all values together
  std::string key_;
  std::vector<json*> open_;  // the value's own place, and what is open in it
};

// What a PieceMember is made of. Subclasses take what stands below its list or object.
class PieceReader : public ValueReader {
 public:
  explicit PieceReader(PieceMember* member) : member_(*member) {}
  Status Take(const JsonEvent& event, int depth) override {
    if (depth > 0) {
      if (member_.problem.ok()) member_.problem = Entry(event, depth);
    } else if (event.kind != Kind::kEnd) {
      member_.form = event.kind == Kind::kObject  ? Form::kObject
                     : event.kind == Kind::kArray ? Form::kList
                     : event.kind == Kind::kNull  ? Form::kNone
                                                  : Form::kOther;
    }
    return {};
  }

 protected:
  virtual Status Entry(const JsonEvent& event, int depth) = 0;
  PieceMember& member_;
  std::string text_;  // of the entry that is being read
};

// The double that the package `tokenizers` makes of a JSON number with a fraction or an exponent: the digits as a whole
// number, rounded, then multiplied or divided by a power of ten and rounded again. Every eighth or so is the neighbour
// of the nearest double, and a tie of two ways to cut a word hangs on that.
double ScoreOf(std::string_view spelled) {
  constexpr int kMaxPower = 308, kFar = 100'000;
  uint64_t digits = 0;
  int power = 0;
  bool full = false, fraction = false;
  size_t at = spelled.starts_with('-') ? 1 : 0;
  for (; at < spelled.size() && spelled[at] != 'e' && spelled[at] != 'E'; ++at) {
    if (spelled[at] == '.') {
      fraction = true;
      continue;
    }
    const auto digit = static_cast<uint64_t>(spelled[at] - '0');
    full |= digits > (UINT64_MAX - digit) / 10;
    if (!full) digits = digits * 10 + digit;
    power += full && !fraction ? 1 : !full && fraction ? -1 : 0;
  }
  if (at < spelled.size()) {
    at += spelled.substr(at + 1).starts_with('+') ? 2 : 1;
    int exponent = spelled.substr(at).starts_with('-') ? -kFar : kFar;  // what does not fit an int is as good as that
    std::from_chars(spelled.data() + at, spelled.data() + spelled.size(), exponent);
    power += std::clamp(exponent, -kFar, kFar);
  }
  const auto ten_to = [](int n) {
    const std::string text = fmt::format("1e{}", n);
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  auto value = static_cast<double>(digits);
  for (; power < -kMaxPower && value != 0; power += kMaxPower) value /= ten_to(kMaxPower);
  if (value != 0) value = power < 0 ? value / ten_to(-power) : value * ten_to(std::min(power, kMaxPower));
  return spelled.starts_with('-') ? -value : value;
}

// {"piece": id, ..} or [["piece", score], ..]
class VocabReader final : public PieceReader {
 public:
  using PieceReader::PieceReader;

 private:
  Status Entry(const JsonEvent& event, int depth) override {
    if (member_.form == Form::kList) return ListEntry(event, depth);
    if (event.kind == Kind::kKey) {
      text_ = event.text;
      return {};
    }
    if (event.kind != Kind::kUnsigned || event.number > kMaxTokenId) {
      return BadModel("a token id in the tokenizer's vocab is not a whole number from 0 to {}", kMaxTokenId);
    }
    member_.log.Add(text_, event.number);
    return {};
  }
  Status ListEntry(const JsonEvent& event, int depth) {
    const bool number = event.kind == Kind::kUnsigned || event.kind == Kind::kNegative || event.kind == Kind::kReal;
    if (depth == 1 && event.kind == Kind::kArray) {
      place_ = 0;
      return {};
    }
    if (depth == 1 && event.kind == Kind::kEnd && place_ == 2) {
      member_.log.Add(text_, PackScore(score_));
      return {};
    }
    if (depth == 2 && event.kind == Kind::kString && place_ == 0) {
      text_ = event.text;
      ++place_;
      return {};
    }
    if (depth == 2 && number && place_ == 1) {
      score_ = event.kind == Kind::kReal ? ScoreOf(event.text) : event.real;
      ++place_;
      return {};
    }
    return BadModel("piece {} of the tokenizer is not a string and a score", member_.log.size());
  }
  int place_ = 0;  // within an entry of a list
  double score_ = 0;
};

// ["left right", ..] or [["left", "right"], ..]
class MergeReader final : public PieceReader {
 public:
  using PieceReader::PieceReader;

 private:
  Status Entry(const JsonEvent& event, int depth) override {
    if (depth == 1 && event.kind == Kind::kArray) {
      text_.clear();
      parts_ = 0;
      return {};
    }
    if (depth == 1 && event.kind == Kind::kEnd) return parts_ == 2 ? Status() : Wrong();
    if (event.kind != Kind::kString) return Wrong();
    if (depth == 1) {
      const size_t space = event.text.find(' ');
      if (space == event.text.npos || event.text.find(' ', space + 1) != event.text.npos) return Wrong();
      text_.assign(event.text.substr(0, space)).append(event.text.substr(space + 1));
      member_.log.Add(text_, space);
      return {};
    }
    if (++parts_ > 2) return Wrong();
    text_ += event.text;
    if (parts_ == 1) left_ = text_.size();
    if (parts_ == 2) member_.log.Add(text_, left_);
    return {};
  }
  Status Wrong() const { return BadModel("merge {} of the tokenizer is not a pair", member_.log.size()); }
  int parts_ = 0;
  size_t left_ = 0;
};

// [{"id": 0, "content": "<s>", "special": true, ..}, ..]
class AddedReader final : public ValueReader {
 public:
  explicit AddedReader(std::vector<AddedToken>* added) : added_(*added) {}
  Status Take(const JsonEvent& event, int depth) override {
    if (depth == 0) {
      if (event.kind == Kind::kArray || event.kind == Kind::kEnd || event.kind == Kind::kNull) return {};
      return BadModel("the tokenizer's added_tokens is not a list");
    }
    if (depth > 2 || (depth == 2 && event.kind == Kind::kEnd)) return {};  // within a field that is not known
    if (depth == 2) return event.kind == Kind::kKey ? Name(event.text) : Field(event);
    if (event.kind == Kind::kEnd) return Finish();
    if (event.kind != Kind::kObject) return BadModel("an added token of the tokenizer is not an object");
    if (added_.size() == kMaxAdded) return BadModel("the tokenizer has more than {} added tokens", kMaxAdded);
    added_.emplace_back();
    has_content_ = has_normalized_ = false;
    return {};
  }

 private:
  struct Flag {
    std::string_view key;
    bool AddedToken::*value;
  };
  static constexpr Flag kFlags[] = {{"special", &AddedToken::special},
                                    {"normalized", &AddedToken::normalized},
                                    {"single_word", &AddedToken::single_word},
                                    {"lstrip", &AddedToken::left_strip},
                                    {"rstrip", &AddedToken::right_strip}};
  enum class FieldKind { kUnknown, kId, kContent, kFlag };

  Status Name(std::string_view key) {
    field_ = key == "id" ? FieldKind::kId : key == "content" ? FieldKind::kContent : FieldKind::kUnknown;
    for (const Flag& flag : kFlags) {
      if (flag.key != key) continue;
      field_ = FieldKind::kFlag;
      flag_ = &flag;
    }
    return {};
  }
  Status Field(const JsonEvent& event) {
    AddedToken& token = added_.back();
    if (field_ == FieldKind::kId) {
      if (event.kind != Kind::kUnsigned || event.number > kMaxTokenId) return WrongId();
      token.id = static_cast<int>(event.number);
    } else if (field_ == FieldKind::kContent) {
      if (event.kind != Kind::kString) return BadModel("the tokenizer's 'content' is not a string");
      token.content = event.text;
      has_content_ = true;
    } else if (field_ == FieldKind::kFlag && event.kind != Kind::kNull) {
      if (event.kind != Kind::kBool) return BadModel("the tokenizer's '{}' is neither true nor false", flag_->key);
      token.*flag_->value = event.number != 0;
      if (flag_->key == "normalized") has_normalized_ = true;
    }
    return {};
  }
  Status Finish() {
    AddedToken& token = added_.back();
    if (token.id < 0) return WrongId();
    if (!has_content_) return BadModel("the tokenizer's 'content' is not a string");
    if (!has_normalized_) token.normalized = !token.special;
    return {};
  }
  static Status WrongId() {
    return BadModel("a token id in the tokenizer's added_tokens is not a whole number from 0 to {}", kMaxTokenId);
  }

  std::vector<AddedToken>& added_;
  FieldKind field_ = FieldKind::kUnknown;
  const Flag* flag_ = nullptr;
  bool has_content_ = false, has_normalized_ = false;
};

// The longest run of bytes that the JSON library keeps as one piece, and repeats in its errors: a string, or what
// stands between two signs of JSON.
size_t LongestRun(std::string_view text) {
  size_t longest = 0, begin = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;
    const bool sign = c == '[' || c == ']' || c == '{' || c == '}' || c == ',' || c == ':';
    if (c != '"' && (in_string || !sign)) continue;
    longest = std::max(longest, i - begin);
    begin = i + 1;
    in_string = in_string != (c == '"');
  }
  return std::max(longest, text.size() - std::min(begin, text.size()));
}

// Hands each member of the file, and of its model, to the reader that takes it.
class PartsVisitor final : public JsonVisitor {
 public:
  explicit PartsVisitor(TokenizerParts* parts)
      : parts_(*parts), vocab_(&parts->vocab), merges_(&parts->merges), added_(&parts->added) {
    parts_.rest = json::object();
  }

  Status Visit(const JsonEvent& event) override {
    if (reader_ != nullptr) {
      const Status taken = reader_->Take(event, event.depth - base_);
      if (event.depth == base_ && !Opens(event)) reader_ = nullptr;
      return taken;
    }
    if (event.depth == 0) {
      if (event.kind == Kind::kObject || event.kind == Kind::kEnd) return {};
      return BadModel("the tokenizer is not a JSON object");
    }
    if (event.kind == Kind::kKey) {
      const bool of_model = event.depth == 2;
      if (!seen_.emplace(of_model, event.text).second) {
        return BadModel("the tokenizer{} has two members '{}'", of_model ? "'s model" : "", Printable(event.text));
      }
      if (seen_.size() > kMaxNodes) return BadModel("the tokenizer has more than {} members", kMaxNodes);
      Choose(event.text, of_model);
      return {};
    }
    if (event.kind == Kind::kEnd) return {};  // of the model
    if (in_model_) {                          // and what it is
      in_model_ = false;
      if (event.kind == Kind::kObject) {
        parts_.rest["model"] = json::object();
        return {};
      }
      next_ = &skip_;
    }
    base_ = event.depth;
    reader_ = Opens(event) ? next_ : nullptr;
    return next_->Take(event, 0);
  }

 private:
  // Sets what takes the value behind this key.
  void Choose(std::string_view key, bool of_model) {
    const auto among = [&](const auto& keys) {
      return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
    };
    next_ = &skip_;
    if (of_model) {
      if (key == "vocab") next_ = &vocab_;
      if (key == "merges") next_ = &merges_;
    } else {
      if (key == "added_tokens") next_ = &added_;
      in_model_ = key == "model";
    }
    if (of_model ? among(kModelMembers) : among(kFileMembers)) {
      tree_.Begin(of_model ? &parts_.rest["model"][std::string(key)] : &parts_.rest[std::string(key)]);
      next_ = &tree_;
    }
  }

  TokenizerParts& parts_;
  VocabReader vocab_;
  MergeReader merges_;
  AddedReader added_;
  TreeReader tree_;
  Skipper skip_;
  ValueReader* next_ = nullptr;    // takes the value that comes
  ValueReader* reader_ = nullptr;  // takes a value that is open
  int base_ = 0;                   // depth of that value
  bool in_model_ = false;          // the value that comes is the model
  std::set<std::pair<bool, std::string>> seen_;
};

}  // namespace

// The last bits of a double that stands for a short fraction are zeros; turned around they are the first.
uint64_t PackScore(double score) { return __builtin_bswap64(std::bit_cast<uint64_t>(score)); }
double UnpackScore(uint64_t packed) { return std::bit_cast<double>(__builtin_bswap64(packed)); }

Result<TokenizerParts> ReadTokenizerParts(std::string_view text) {
  if (const size_t longest = LongestRun(text); longest > kMaxRunBytes) {
    return BadModel("the tokenizer's JSON has a string or number of {} bytes; at most {} are read", longest,
                    kMaxRunBytes);
  }
  TokenizerParts parts;
  PartsVisitor visitor(&parts);
  UM_RETURN_IF_ERROR(WalkJson(text, "the tokenizer", &visitor));
  return parts;
}

}  // namespace unimax
