// SPDX-License-Identifier: Apache-2.0
#include "text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_complex.h"
#include "text/utf8.h"

namespace unimax::jinja {

Text::Text(std::string bytes, bool untrusted) : bytes_(std::move(bytes)), untrusted_(untrusted) {}

void Text::Append(std::string_view bytes, bool untrusted) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    untrusted_ = untrusted;
  } else if (runs_.empty() && untrusted_ != untrusted) {
    runs_ = {{bytes_.size(), untrusted_}, {0, untrusted}};
  } else if (!runs_.empty() && runs_.back().second != untrusted) {
    runs_.emplace_back(0, untrusted);
  }
  bytes_ += bytes;
  if (!runs_.empty()) runs_.back().first = bytes_.size();
}

void Text::Append(const Text& other) { Append(other, 0, other.size()); }

void Text::Append(const Text& other, size_t begin, size_t end) {
  const std::string_view bytes = other.bytes_;
  if (other.runs_.empty()) {
    if (begin < end) Append(bytes.substr(begin, end - begin), other.untrusted_);
    return;
  }
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](size_t at, const auto& r) { return at < r.first; });
  for (; run != other.runs_.end() && begin < end; ++run) {
    const size_t stop = std::min(run->first, end);
    Append(bytes.substr(begin, stop - begin), run->second);
    begin = stop;
  }
}

std::vector<std::pair<size_t, bool>> Text::Runs() const {
  if (!runs_.empty() || bytes_.empty()) return runs_;
  return {{bytes_.size(), untrusted_}};
}

Text Text::Slice(size_t begin, size_t end) const {
  Text out;
  out.Append(*this, begin, end);
  return out;
}

bool Text::UntrustedAt(size_t at) const {
  if (runs_.empty()) return untrusted_ && at < bytes_.size();
  const auto run =
      std::upper_bound(runs_.begin(), runs_.end(), at, [](size_t a, const auto& r) { return a < r.first; });
  return run != runs_.end() && run->second;
}

bool Text::AnyUntrusted() const { return !runs_.empty() || (untrusted_ && !bytes_.empty()); }

const Text& Value::text() const { return static_cast<TextObject*>(o)->text; }
bool Value::markup() const { return kind == Kind::kText && static_cast<TextObject*>(o)->markup; }
ListObject& Value::list() const { return *static_cast<ListObject*>(o); }
DictObject& Value::dict() const { return *static_cast<DictObject*>(o); }

namespace {

bool CanBeKey(const Value& v) {
  if (v.Is(Kind::kTuple)) return std::all_of(v.list().items.begin(), v.list().items.end(), CanBeKey);
  return v.Is(Kind::kText) || v.Is(Kind::kNone) || v.IsNumber() || v.Is(Kind::kComplex) || v.IsUndefined();
}

// Python's == on what can be a key.
bool SameKey(const Value& a, const Value& b) {
  if (a.Is(Kind::kText) || b.Is(Kind::kText)) return a.kind == b.kind && a.bytes() == b.bytes();
  return HashKey(a) == HashKey(b);
}

}  // namespace

size_t DictObject::Place(const Value& key) const {
  if (items.size() <= kFew) {
    size_t at = 0;
    while (at < items.size() && !SameKey(items[at].first, key)) ++at;
    return at;
  }
  const auto it = index_.find(*HashKey(key));
  return it == index_.end() ? items.size() : it->second;
}

const Value* DictObject::Find(const Value& key) const {
  if (!CanBeKey(key)) return nullptr;
  const size_t at = Place(key);
  return at == items.size() ? nullptr : &items[at].second;
}

const Value* DictObject::Find(std::string_view key) const {
  if (items.size() > kFew) {
    const auto it = index_.find(std::string("s").append(key));
    return it == index_.end() ? nullptr : &items[it->second].second;
  }
  for (const auto& [name, value] : items)
    if (name.Is(Kind::kText) && name.bytes() == key) return &value;
  return nullptr;
}

bool DictObject::Set(const Value& key, const Value& value) {
  if (!CanBeKey(key)) return false;
  const size_t at = Place(key);
  weight = std::min(weight + WeightOf(key) + WeightOf(value) + 4, int64_t{1} << 60);
  if (at < items.size()) {
    items[at].second = value;
    return true;
  }
  if (items.empty()) items.reserve(2);  // a message's role and content
  items.emplace_back(key, value);
  if (items.size() == kFew + 1) {
    for (size_t i = 0; i < items.size(); ++i) index_.emplace(*HashKey(items[i].first), i);
  } else if (items.size() > kFew) {
    index_.emplace(*HashKey(key), at);
  }
  return true;
}

Value Heap::String(Text text, bool markup) {
  Charge(text.size() + text.overhead());
  auto* object = Make<TextObject>();
  object->text = std::move(text);
  object->markup = markup;
  return Value::Of(Kind::kText, object);
}

Value Heap::Sequence(Kind kind, std::vector<Value> items) {
  Charge(items.size() * sizeof(Value));
  auto* object = Make<ListObject>();
  for (const Value& item : items) object->weight += 2 + WeightOf(item);
  if (object->weight > limit_) Fill();
  object->items = std::move(items);
  return Value::Of(kind, object);
}

int64_t WeightOf(const Value& v) {
  if (v.Is(Kind::kText)) return static_cast<int64_t>(v.bytes().size()) + 2;
  if (v.IsSequence() || v.Is(Kind::kDictView) || v.Is(Kind::kGenerator)) return v.list().weight;
  return v.Is(Kind::kDict) ? v.dict().weight : 8;
}

bool Truthy(const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return v.b;
    case Kind::kInt:
      return v.i != 0;
    case Kind::kFloat:
      return v.d != 0;
    case Kind::kComplex:
      return v.z.re != 0 || v.z.im != 0;
    case Kind::kText:
      return v.text().size() > 0;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDictView:
      return !v.list().items.empty();
    case Kind::kDict:
      return !v.dict().items.empty();
    default:
      return true;
  }
}

bool Equal(const Value& a, const Value& b, int depth) {
  if (depth <= 0) return false;
  if (a.IsUndefined() || b.IsUndefined()) return a.IsUndefined() && b.IsUndefined();
  if (a.IsNumber() && b.IsNumber()) {
    return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? a.AsDouble() == b.AsDouble() : a.AsInt() == b.AsInt();
  }
  if (a.Is(Kind::kComplex) && b.IsNumber()) return a.z.im == 0 && a.z.re == b.AsDouble();
  if (b.Is(Kind::kComplex) && a.IsNumber()) return b.z.im == 0 && b.z.re == a.AsDouble();
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kNone:
      return true;
    case Kind::kComplex:
      return a.z.re == b.z.re && a.z.im == b.z.im;
    case Kind::kText:
      return a.bytes() == b.bytes();
    case Kind::kList:
    case Kind::kTuple: {
      const auto& x = a.list().items;
      const auto& y = b.list().items;
      return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(),
                                                [&](const Value& l, const Value& r) { return Equal(l, r, depth - 1); });
    }
    case Kind::kDict: {
      const DictObject& x = a.dict();
      if (x.items.size() != b.dict().items.size()) return false;
      return std::all_of(x.items.begin(), x.items.end(), [&](const auto& item) {
        const Value* other = b.dict().Find(item.first);
        return other != nullptr && Equal(item.second, *other, depth - 1);
      });
    }
    default:
      return a.o == b.o;
  }
}

std::optional<bool> Less(const Value& a, const Value& b, int depth) {
  if (depth <= 0) return std::nullopt;
  if (a.IsNumber() && b.IsNumber()) {
    return a.Is(Kind::kFloat) || b.Is(Kind::kFloat) ? a.AsDouble() < b.AsDouble() : a.AsInt() < b.AsInt();
  }
  if (a.kind != b.kind) return std::nullopt;
  if (a.Is(Kind::kText)) return a.bytes() < b.bytes();  // UTF-8 sorts as its characters do
  if (!a.IsSequence()) return std::nullopt;
  const auto& x = a.list().items;
  const auto& y = b.list().items;
  for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
    if (!Equal(x[i], y[i], depth - 1)) return Less(x[i], y[i], depth - 1);
  }
  return x.size() < y.size();
}

std::string IntText(Int v) {
  if (v == 0) return "0";
  const bool negative = v < 0;
  auto rest = negative ? -static_cast<unsigned __int128>(v) : static_cast<unsigned __int128>(v);
  std::string out;
  for (; rest != 0; rest /= 10) out += static_cast<char>('0' + static_cast<int>(rest % 10));
  if (negative) out += '-';
  std::reverse(out.begin(), out.end());
  return out;
}

std::string FloatText(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof(buffer), v, std::chars_format::scientific).ptr;
  const std::string_view all(buffer, static_cast<size_t>(end - buffer));
  const size_t e = all.find('e');
  const int exponent = std::atoi(std::string(all.substr(e + 1)).c_str());
  if (exponent >= -4 && exponent < 16) {  // where Python changes to an exponent
    end = std::to_chars(buffer, buffer + sizeof(buffer), v, std::chars_format::fixed).ptr;
    std::string out(buffer, end);
    if (out.find('.') == out.npos) out += ".0";
    return out;
  }
  return std::string(all);
}

std::optional<std::string> HashKey(const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "U";  // all are one
    case Kind::kText:
      return "s" + v.bytes();
    case Kind::kNone:
      return "N";
    case Kind::kBool:
    case Kind::kInt:
      return "n" + IntText(v.AsInt());
    case Kind::kFloat:
      if (std::abs(v.d) < 1e18 && v.d == std::floor(v.d)) return "n" + IntText(static_cast<Int>(v.d));
      return "f" + FloatText(v.d);
    case Kind::kComplex:
      if (v.z.im == 0) return HashKey(Value::Float(v.z.re));
      return "c" + ComplexText(v);
    case Kind::kTuple: {
      std::string key = "(";
      for (const Value& item : v.list().items) {
        const auto part = HashKey(item);
        if (!part) return std::nullopt;
        key += std::to_string(part->size()) + ":" + *part;
      }
      return key;
    }
    default:
      return std::nullopt;
  }
}

std::string_view TypeName(const Value& v) {
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kComplex:
      return "complex";
    case Kind::kText:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kDictView:
      return v.list().view;
    case Kind::kGenerator:
      return "generator";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kJoiner:
      return "Joiner";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kMethod:
      return "method";
    case Kind::kFunction:
      return "function";
  }
  return "object";
}

namespace {

void AppendQuoted(const Text& text, Text& out) {
  const std::string& s = text.bytes();
  const bool use_double = s.find('\'') != s.npos && s.find('"') == s.npos;
  const char quote = use_double ? '"' : '\'';
  out.Append(std::string(1, quote), false);
  for (size_t i = 0; i < s.size();) {
    const utf8::Char c = utf8::At(s, i);
    const size_t end = i + static_cast<size_t>(c.length);
    std::string escaped;
    if (c.code == '\\' || c.code == static_cast<char32_t>(quote)) {
      escaped = std::string("\\") + static_cast<char>(c.code);
    } else if (c.code == '\n') {
      escaped = "\\n";
    } else if (c.code == '\r') {
      escaped = "\\r";
    } else if (c.code == '\t') {
      escaped = "\\t";
    } else if (c.code != ' ' && (utf8::IsOther(c.code) || utf8::IsWhite(c.code))) {
      const auto code = static_cast<uint32_t>(c.code);
      escaped = code < 0x100     ? fmt::format("\\x{:02x}", code)
                : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                 : fmt::format("\\U{:08x}", code);
    }
    if (escaped.empty()) {
      out.Append(text, i, end);
    } else {
      out.Append(escaped, text.UntrustedAt(i));
    }
    i = end;
  }
  out.Append(std::string(1, quote), false);
}

constexpr int kMaxShown = 64;  // containers within each other

void AppendRepr(const Value& v, bool repr, int depth, Text& out);

void AppendItems(const std::vector<Value>& items, std::string_view open, std::string_view close, int depth, Text& out) {
  out.Append(open, false);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.Append(", ", false);
    AppendRepr(items[i], true, depth - 1, out);
  }
  out.Append(close, false);
}

void AppendRepr(const Value& v, bool repr, int depth, Text& out) {
  if (depth <= 0) {
    out.Append("...", false);
    return;
  }
  switch (v.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      out.Append(repr ? "Undefined" : "", false);
      return;
    case Kind::kNone:
      out.Append("None", false);
      return;
    case Kind::kBool:
      out.Append(v.b ? "True" : "False", false);
      return;
    case Kind::kInt:
      out.Append(IntText(v.i), false);
      return;
    case Kind::kFloat:
      out.Append(FloatText(v.d), false);
      return;
    case Kind::kComplex:
      out.Append(ComplexText(v), false);
      return;
    case Kind::kText:
      if (!repr) {
        out.Append(v.text());
      } else if (v.markup()) {
        out.Append("Markup(", false);
        AppendQuoted(v.text(), out);
        out.Append(")", false);
      } else {
        AppendQuoted(v.text(), out);
      }
      return;
    case Kind::kList:
      AppendItems(v.list().items, "[", "]", depth, out);
      return;
    case Kind::kTuple:
      AppendItems(v.list().items, "(", v.list().items.size() == 1 ? ",)" : ")", depth, out);
      return;
    case Kind::kDictView:
      AppendItems(v.list().items, std::string(v.list().view) + "([", "])", depth, out);
      return;
    case Kind::kNamespace:
    case Kind::kDict: {
      if (v.Is(Kind::kNamespace) && depth < kMaxShown) {  // it may hold itself
        out.Append("<Namespace>", false);
        return;
      }
      out.Append(v.Is(Kind::kDict) ? "{" : "<Namespace {", false);
      bool first = true;
      for (const auto& [key, value] : v.dict().items) {
        if (!first) out.Append(", ", false);
        first = false;
        AppendRepr(key, true, depth - 1, out);
        out.Append(": ", false);
        AppendRepr(value, true, depth - 1, out);
      }
      out.Append(v.Is(Kind::kDict) ? "}" : "}>", false);
      return;
    }
    default:
      out.Append(fmt::format("<{}>", TypeName(v)), false);
      return;
  }
}

}  // namespace

Text ToText(const Value& v, bool repr) {
  Text out;
  AppendRepr(v, repr, kMaxShown, out);
  return out;
}

}  // namespace unimax::jinja
