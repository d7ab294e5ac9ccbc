// SPDX-License-Identifier: Apache-2.0
#include "base/json_walk.h"

#include <nlohmann/json.hpp>

namespace unimax {
namespace {

using Json = nlohmann::json;
using Kind = JsonEvent::Kind;

// The library's callbacks; returning false stops its parser.
class Events {
 public:
  Events(std::string_view what, JsonVisitor* visitor) : what_(what), visitor_(visitor) {}
  Status status() const { return status_; }

  bool null() { return Give({Kind::kNull, depth_, {}}); }
  bool boolean(bool b) { return Give({Kind::kBool, depth_, {}, b ? 1u : 0u}); }
  bool number_integer(Json::number_integer_t n) {
    return Give({Kind::kNegative, depth_, {}, static_cast<uint64_t>(n), static_cast<double>(n)});
  }
  bool number_unsigned(Json::number_unsigned_t n) {
    return Give({Kind::kUnsigned, depth_, {}, n, static_cast<double>(n)});
  }
  bool number_float(Json::number_float_t x, const std::string& s) { return Give({Kind::kReal, depth_, s, 0, x}); }
  bool string(std::string& s) { return Give({Kind::kString, depth_, s}); }
  bool binary(Json::binary_t&) { return false; }
  bool key(std::string& s) { return Give({Kind::kKey, depth_, s}); }
  bool start_object(size_t) { return Open(Kind::kObject); }
  bool start_array(size_t) { return Open(Kind::kArray); }
  bool end_object() { return Give({Kind::kEnd, --depth_, {}}); }
  bool end_array() { return Give({Kind::kEnd, --depth_, {}}); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    status_ = BadModel("{}: not valid JSON at byte {}", what_, position);
    return false;
  }

 private:
  bool Open(Kind kind) {
    if (!Give({kind, depth_, {}})) return false;
    if (++depth_ <= kMaxJsonDepth) return true;
    status_ = BadModel("{}: JSON nested deeper than {} levels", what_, kMaxJsonDepth);
    return false;
  }
  bool Give(const JsonEvent& event) {
    if (visitor_ != nullptr) status_ = visitor_->Visit(event);
    return status_.ok();
  }

  std::string_view what_;
  JsonVisitor* visitor_;
  int depth_ = 0;
  Status status_;
};

// Length of the sequence that starts at s[0], or 0 when it is not well formed (RFC 3629).
size_t SequenceLength(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto tail = [&](size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  const unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4 || !tail(1)) return 0;
  if (lead < 0xe0) return 2;
  if (!tail(2) || (lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f)) return 0;
  if (lead < 0xf0) return 3;
  if (!tail(3) || (lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) > 0x8f)) return 0;
  return 4;
}

}  // namespace

Status WalkJson(std::string_view text, std::string_view what, JsonVisitor* visitor) {
  Events events(what, visitor);
  const bool done = Json::sax_parse(text.data(), text.data() + text.size(), &events);
  if (!events.status().ok()) return events.status();
  if (!done) return BadModel("{}: not valid JSON", what);
  return {};
}

Status CheckJson(std::string_view text, std::string_view what, uint64_t max_bytes) {
  if (text.size() > max_bytes) return BadModel("{}: JSON of {} bytes is over {}", what, text.size(), max_bytes);
  return WalkJson(text, what, nullptr);
}

bool IsPlainUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = text[0] == '\0' ? 0 : SequenceLength(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string Printable(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out;
  for (const char c : text.substr(0, kShown)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text.size() > kShown ? out + "..." : out;
}

}  // namespace unimax
