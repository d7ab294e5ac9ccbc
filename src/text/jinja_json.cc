// SPDX-License-Identifier: Apache-2.0
// JSON in and out, as Python's json module writes it.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "text/jinja_interp.h"
#include "text/json_fields.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

// Makes values while the parser reads: no second tree of the input is ever in memory.
class Builder {
 public:
  using Json = nlohmann::json;
  Builder(Heap& heap, bool untrusted) : heap_(heap), untrusted_(untrusted) {}

  bool null() { return Add(Value::None()); }
  bool boolean(bool v) { return Add(Value::Bool(v)); }
  bool number_integer(Json::number_integer_t v) { return Add(Value::Integer(v)); }
  bool number_unsigned(Json::number_unsigned_t v) { return Add(Value::Integer(v)); }
  bool number_float(Json::number_float_t v, const std::string&) { return Add(Value::Float(v)); }
  bool string(const std::string& v) { return Add(heap_.String(Text(v, untrusted_))); }
  bool binary(Json::binary_t&) { return false; }
  bool start_array(size_t) { return Open(heap_.List({})); }
  bool start_object(size_t) { return Open(heap_.Dict()); }
  bool end_array() { return Close(); }
  bool end_object() { return Close(); }
  bool key(const std::string& v) {
    heap_.Charge(2 * sizeof(Value) + 64 + v.size());
    const auto known = names_.find(v);
    keys_.back() = known != names_.end() ? known->second : heap_.String(Text(v, untrusted_));
    if (known == names_.end() && names_.size() < kNames) names_.emplace(v, keys_.back());
    return !heap_.Full();
  }
  template <class Error>
  bool parse_error(size_t, const std::string&, const Error&) {
    return false;
  }
  const Value& root() const { return root_; }
  bool too_deep() const { return too_deep_; }

 private:
  static constexpr size_t kNames = 64;  // as many different keys are made once
  bool Add(const Value& v) {
    if (open_.empty()) {
      root_ = v;
    } else if (open_.back().Is(Kind::kDict)) {
      open_.back().dict().Set(keys_.back(), v);
    } else {
      heap_.Charge(sizeof(Value));
      open_.back().list().items.push_back(v);
      open_.back().list().weight += 2 + WeightOf(v);
    }
    return !heap_.Full();
  }
  bool Open(const Value& v) {
    too_deep_ = open_.size() >= kMaxNesting;
    const bool fits = Add(v) && !too_deep_;
    open_.push_back(v);
    keys_.emplace_back();
    return fits;
  }
  bool Close() {
    const int64_t weight = WeightOf(open_.back());
    open_.pop_back();
    keys_.pop_back();
    if (open_.empty()) return true;
    (open_.back().Is(Kind::kDict) ? open_.back().dict().weight : open_.back().list().weight) += weight;
    return true;
  }

  Heap& heap_;
  bool untrusted_, too_deep_ = false;
  std::map<std::string, Value, std::less<>> names_;
  Value root_;
  std::vector<Value> open_, keys_;  // containers being read, and the key that each reads a value for
};

class Writer {
 public:
  Writer(Interpreter& in, const JsonStyle& style) : in_(in), style_(style) {}

  Status Write(const Value& v, int depth) {
    if (depth > kMaxNesting) return in_.Error("tojson: nested too deep");
    UM_RETURN_IF_ERROR(in_.Step());
    switch (v.kind) {
      case Kind::kNone:
        out_.Append("null", false);
        return {};
      case Kind::kBool:
        out_.Append(v.b ? "true" : "false", false);
        return {};
      case Kind::kInt:
        out_.Append(IntText(v.i), false);
        return {};
      case Kind::kFloat:
        out_.Append(Number(v.d), false);
        return {};
      case Kind::kText:
        Quote(v.text());
        return {};
      case Kind::kList:
      case Kind::kTuple:
        return WriteList(v.list().items, depth);
      case Kind::kDict:
        return WriteDict(v.dict(), depth);
      default:
        return in_.Error(fmt::format("Object of type {} is not JSON serializable", TypeName(v)));
    }
  }
  Text Take() { return std::move(out_); }

 private:
  static std::string Number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return FloatText(d);
  }

  void Line(int depth) {
    if (!style_.indent) return;
    out_.Append("\n", false);
    for (int i = 0; i < depth; ++i) out_.Append(*style_.indent, false);
  }

  Status WriteList(const std::vector<Value>& items, int depth) {
    if (items.empty()) {
      out_.Append("[]", false);
      return {};
    }
    out_.Append("[", false);
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.Append(style_.item_separator, false);
      Line(depth + 1);
      UM_RETURN_IF_ERROR(Write(items[i], depth + 1));
    }
    Line(depth);
    out_.Append("]", false);
    return in_.Charge(0);
  }

  Result<Text> KeyText(const Value& key) {
    switch (key.kind) {
      case Kind::kText:
        return key.text();
      case Kind::kNone:
        return Text("null");
      case Kind::kBool:
        return Text(key.b ? "true" : "false");
      case Kind::kInt:
        return Text(IntText(key.i));
      case Kind::kFloat:
        return Text(Number(key.d));
      default:
        return in_.Error("keys must be str, int, float, bool or None");
    }
  }

  Status WriteDict(const DictObject& dict, int depth) {
    if (dict.items.empty()) {
      out_.Append("{}", false);
      return {};
    }
    auto items = dict.items;
    if (style_.sort_keys) {
      bool unordered = false;
      std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
        const auto less = Less(a.first, b.first);
        unordered |= !less;
        return less.value_or(false);
      });
      if (unordered) return in_.Error("tojson: keys cannot be ordered");
    }
    out_.Append("{", false);
    bool first = true;
    for (const auto& [key, value] : items) {
      if (!first) out_.Append(style_.item_separator, false);
      first = false;
      Line(depth + 1);
      UM_ASSIGN_OR_RETURN(const Text name, KeyText(key));
      Quote(name);
      out_.Append(style_.key_separator, false);
      UM_RETURN_IF_ERROR(Write(value, depth + 1));
    }
    Line(depth);
    out_.Append("}", false);
    return {};
  }

  void Quote(const Text& text) {
    out_.Append("\"", false);
    const std::string& s = text.bytes();
    for (size_t i = 0; i < s.size();) {
      const utf8::Char c = utf8::At(s, i);
      const size_t end = i + static_cast<size_t>(c.length);
      std::string coded;
      constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
      constexpr std::string_view kTo = "\"\\nrtbf";
      const size_t simple = c.code < 0x80 ? kFrom.find(static_cast<char>(c.code)) : kFrom.npos;
      if (simple != kFrom.npos) {
        coded = std::string("\\") + kTo[simple];
      } else if (c.code < 0x20 || (style_.ascii && c.code > 0x7e && c.code < 0x10000)) {
        coded = fmt::format("\\u{:04x}", static_cast<uint32_t>(c.code));
      } else if (style_.ascii && c.code >= 0x10000) {
        const auto rest = static_cast<uint32_t>(c.code) - 0x10000;
        coded = fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
      }
      if (coded.empty()) {
        out_.Append(text, i, end);
      } else {
        out_.Append(coded, text.UntrustedAt(i));
      }
      i = end;
    }
    out_.Append("\"", false);
    in_.heap().Charge(s.size());
  }

  Interpreter& in_;
  const JsonStyle& style_;
  Text out_;
};

}  // namespace

Result<Value> FromJson(Heap& heap, std::string_view json, bool untrusted) {
  Builder builder(heap, untrusted);
  if (nlohmann::json::sax_parse(json, &builder)) return builder.root();
  if (builder.too_deep()) return BadModel("the template's input is nested deeper than {}", kMaxNesting);
  if (heap.Full()) return BadModel("the template's input takes too much memory");
  return BadModel("the template's input is not JSON");
}

Result<Text> ToJson(Interpreter& in, const Value& v, const JsonStyle& style) {
  Writer writer(in, style);
  UM_RETURN_IF_ERROR(writer.Write(v, 0));
  return writer.Take();
}

}  // namespace unimax::jinja
