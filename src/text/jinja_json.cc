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

using Json = nlohmann::ordered_json;

Value Convert(Heap& heap, const Json& json, bool untrusted) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::Integer(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      return Value::Integer(json.get<uint64_t>());
    case Json::value_t::number_float:
      return Value::Float(json.get<double>());
    case Json::value_t::string:
      return heap.String(Text(json.get_ref<const std::string&>(), untrusted));
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(Convert(heap, item, untrusted));
      return heap.List(std::move(items));
    }
    case Json::value_t::object: {
      const Value dict = heap.Dict();
      for (const auto& [key, value] : json.items()) {
        heap.Charge(2 * sizeof(Value) + 64 + key.size());
        dict.dict().Set(heap.String(Text(key, untrusted)), Convert(heap, value, untrusted));
      }
      return dict;
    }
    default:
      return Value::None();
  }
}

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
  if (JsonDepth(json) > kMaxNesting) return BadModel("the template's input is nested deeper than {}", kMaxNesting);
  const Json parsed = Json::parse(json, nullptr, false);
  if (parsed.is_discarded()) return BadModel("the template's input is not JSON");
  return Convert(heap, parsed, untrusted);
}

Result<Text> ToJson(Interpreter& in, const Value& v, const JsonStyle& style) {
  Writer writer(in, style);
  UM_RETURN_IF_ERROR(writer.Write(v, 0));
  return writer.Take();
}

}  // namespace unimax::jinja
