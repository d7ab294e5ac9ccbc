// SPDX-License-Identifier: Apache-2.0
// Filters on strings. A filter that is also a method of strings shares its code (jinja_text_methods.cc).
#include <algorithm>

#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

using In = Interpreter;

// `self` as a string, with the given bytes mapped one by one.
Result<Value> Upper(In& in, const Value& self, const Args&) { return in.Str(UpperOf(ToText(self))); }
Result<Value> Lower(In& in, const Value& self, const Args&) { return in.Str(LowerOf(ToText(self))); }
Result<Value> Capitalize(In& in, const Value& self, const Args&) { return in.Str(CapitalOf(ToText(self))); }

// As the filter does it: words start after white space, hyphens and brackets.
Result<Value> Title(In& in, const Value& self, const Args&) {
  const Text text = ToText(self);
  Text out;
  size_t begin = 0;
  const std::string& s = text.bytes();
  const auto word = [&](size_t end) {
    if (begin == end) return;
    const size_t first = begin + static_cast<size_t>(utf8::At(s, begin).length);
    out.Append(UpperOf(text.Slice(begin, first)));
    out.Append(LowerOf(text.Slice(first, end)));
  };
  constexpr std::string_view kBorders = "-({[<";
  for (size_t i = 0; i < s.size();) {
    const utf8::Char c = utf8::At(s, i);
    const size_t end = i + static_cast<size_t>(c.length);
    if (IsPythonSpace(c.code) || kBorders.find(s[i]) != kBorders.npos) {
      word(i);
      out.Append(text, i, end);
      begin = end;
    }
    i = end;
  }
  word(s.size());
  return in.Str(std::move(out));
}

Result<Value> Trim(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"chars"}, 0));
  std::optional<std::string> chars;
  if (a[0].Is(Kind::kText)) chars = a[0].bytes();
  return in.Str(StripOf(ToText(self), chars, true, true));
}

Result<Value> String(In& in, const Value& self, const Args&) {
  return self.Is(Kind::kText) ? self : in.Str(ToText(self));
}

Result<Value> Replace(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"old", "new", "count"}, 2));
  Int count = -1;
  if (!a[2].IsMissing() && !a[2].Is(Kind::kNone)) {
    UM_ASSIGN_OR_RETURN(count, in.IntOf(a[2]));
  }
  return ReplaceIn(in, ToText(self), ToText(a[0]), ToText(a[1]), count);
}

Result<Value> Escape(In& in, const Value& self, const Args&) {
  if (self.markup()) return self;
  return in.heap().String(EscapeHtml(ToText(self)), true);
}
Result<Value> ForceEscape(In& in, const Value& self, const Args&) {
  return in.heap().String(EscapeHtml(ToText(self)), true);
}
Result<Value> Safe(In& in, const Value& self, const Args&) { return in.heap().String(ToText(self), true); }

Result<Value> Center(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"width"}, 0));
  Int width = 80;
  if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(width, in.IntOf(a[0]));
  }
  return Pad(in, ToText(self), width, " ", Side::kBoth);
}

Result<Value> Indent(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"width", "first", "blank"}, 0));
  Text pad(std::string(4, ' '));
  if (a[0].Is(Kind::kText)) {
    pad = a[0].text();
  } else if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(const Int width, in.IntOf(a[0]));
    UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(std::clamp(width, Int{0}, Int{1} << 40))));
    pad = Text(std::string(static_cast<size_t>(std::max(width, Int{0})), ' '));
  }
  if (!self.Is(Kind::kText)) return in.Error(fmt::format("indent needs a string, not {}", TypeName(self)));
  const bool first = Truthy(a[1]);
  const bool blank = Truthy(a[2]);
  // As Python counts lines, of the text with one more line end.
  const Text& text = self.text();
  std::vector<std::pair<size_t, size_t>> lines = LinesOf(text, false);
  if (lines.empty() || EndsLine(text)) lines.emplace_back(text.size(), text.size());
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(lines.size() + text.size() / 64)));
  UM_RETURN_IF_ERROR(in.Charge(lines.size() * (pad.size() + 1)));
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto [begin, end] = lines[i];
    if (i > 0) out.Append("\n", begin > 0 && text.UntrustedAt(begin - 1));
    if (i == 0 ? first : (blank || end > begin)) out.Append(pad);
    out.Append(text, begin, end);
  }
  return in.Str(std::move(out));
}

Result<Value> Truncate(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"length", "killwords", "end", "leeway"}, 0));
  Int length = 255;
  Int leeway = 5;
  if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(length, in.IntOf(a[0]));
  }
  if (a[3].IsInteger()) leeway = a[3].AsInt();
  Text end;
  end.Append("...", false);
  if (!a[2].IsMissing()) end = ToText(a[2]);
  if (!self.Is(Kind::kText)) {  // what is short enough stays as it is
    UM_ASSIGN_OR_RETURN(const Value size, in.Filter("length", self, {}));
    return size.AsInt() <= length + leeway ? Result<Value>(self) : in.Error("truncate needs a string");
  }
  const Text& text = self.text();
  const auto n = static_cast<Int>(utf8::Length(text.bytes()));
  const auto end_length = static_cast<Int>(utf8::Length(end.bytes()));
  if (length < end_length) return in.Error("truncate: the length is shorter than the end");
  if (n <= length + leeway) return self;
  UM_ASSIGN_OR_RETURN(const Value cut,
                      in.SliceOf(in.Str(text), Value::None(), Value::Integer(length - end_length), Value::None()));
  Text out = cut.text();
  if (!Truthy(a[1])) {
    const size_t space = out.bytes().rfind(' ');
    if (space != std::string::npos) out = out.Slice(0, space);
  }
  out.Append(self.markup() ? EscapeHtml(end) : end);
  return in.Str(std::move(out));
}

Result<Value> WordCount(In& in, const Value& self, const Args&) {
  const Text text = ToText(self);
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(text.size() / 8)));
  Int words = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text.bytes(), i);
    const bool word = IsPythonWord(c.code);
    words += word && !inside ? 1 : 0;
    inside = word;
    i += static_cast<size_t>(c.length);
  }
  return Value::Integer(words);
}

Result<Value> StripTags(In& in, const Value& self, const Args&) {
  const Text text = ToText(self);
  Text bare;
  for (size_t i = 0; i < text.size();) {
    const size_t open = std::min(text.bytes().find('<', i), text.size());
    const size_t close = text.bytes().find('>', open);
    if (close == std::string::npos) {
      bare.Append(text, i, text.size());
      break;
    }
    bare.Append(text, i, open);
    i = close + 1;
  }
  Text out;  // runs of white space become one space
  for (const auto& [begin, end] : WordsOf(bare)) {
    if (out.size() > 0) out.Append(" ", false);
    out.Append(bare, begin, end);
  }
  return in.Str(std::move(out));
}

void AppendQuoted(const Text& text, std::string_view plain, Text& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const bool keep = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
                      c == '.' || c == '-' || c == '~' || plain.find(c) != plain.npos;
    if (keep) {
      out.Append(text, i, i + 1);
      continue;
    }
    const std::string piece = fmt::format("%{:02X}", static_cast<uint8_t>(c));
    out.Append(piece, text.UntrustedAt(i));
  }
}

Result<Value> UrlEncode(In& in, const Value& self, const Args&) {
  Text out;
  std::vector<std::pair<Value, Value>> pairs;
  if (self.Is(Kind::kDict)) pairs = self.dict().items;
  if (self.IsSequence()) {
    for (const Value& item : self.list().items) {
      UM_ASSIGN_OR_RETURN(const auto parts, in.Iterate(item));
      if (parts.size() != 2) return in.Error("urlencode needs pairs of key and value");
      pairs.emplace_back(parts[0], parts[1]);
    }
  }
  if (self.Is(Kind::kDict) || self.IsSequence()) {
    for (const auto& [key, value] : pairs) {
      if (out.size() > 0) out.Append("&", false);
      AppendQuoted(ToText(key), "", out);
      out.Append("=", false);
      AppendQuoted(ToText(value), "", out);
    }
    const std::string spaces = "%20";
    return ReplaceIn(in, out, Text(spaces), Text("+"), -1);
  }
  AppendQuoted(ToText(self), "/", out);
  return in.Str(std::move(out));
}

Result<Value> Format(In& in, const Value& self, const Args& args) {
  if (args.named.empty()) return PercentFormat(in, ToText(self), in.heap().Tuple(args.positional));
  const Value dict = in.heap().Dict();
  for (const auto& [name, v] : args.named) dict.dict().Set(in.heap().String(name), v);
  return PercentFormat(in, ToText(self), dict);
}

// `v` with the keys of its mappings in order, as Python's pprint shows them; from `depth` 0 on as it is.
Value InOrder(In& in, const Value& v, int depth) {
  if (depth == 0 || in.heap().Full() || !(v.IsSequence() || v.Is(Kind::kDict))) return v;
  if (v.IsSequence()) {
    std::vector<Value> items;
    for (const Value& item : v.list().items) items.push_back(InOrder(in, item, depth - 1));
    return in.heap().Sequence(v.kind, std::move(items));
  }
  auto items = v.dict().items;
  const bool texts = std::all_of(items.begin(), items.end(), [](const auto& i) { return i.first.Is(Kind::kText); });
  if (texts) {
    std::stable_sort(items.begin(), items.end(),
                     [](const auto& l, const auto& r) { return l.first.bytes() < r.first.bytes(); });
  }
  const Value sorted = in.heap().Dict();
  for (const auto& [key, value] : items) sorted.dict().Set(key, InOrder(in, value, depth - 1));
  return sorted;
}

Result<Value> PrettyPrint(In& in, const Value& self, const Args&) {
  constexpr int kDepth = 16;
  return in.Str(ToText(InOrder(in, self, kDepth), true));
}

Result<Value> XmlAttr(In& in, const Value& self, const Args&) {
  if (!self.Is(Kind::kDict)) return in.Error("xmlattr needs a mapping");
  Text out;
  for (const auto& [key, value] : self.dict().items) {
    if (value.Is(Kind::kNone) || value.IsUndefined()) continue;
    if (ToText(key).bytes().find_first_of(" \t\n\f\r/>=") != std::string::npos) return in.Error("bad attribute name");
    out.Append(" ", false);
    out.Append(EscapeHtml(ToText(key)));
    out.Append("=\"", false);
    out.Append(EscapeHtml(ToText(value)));
    out.Append("\"", false);
  }
  return in.Str(std::move(out));
}

Result<Value> ToJsonFilter(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0));
  JsonStyle style;
  style.ascii = Truthy(a[0]);
  style.sort_keys = Truthy(a[3]);
  if (a[1].Is(Kind::kText)) {
    style.indent = a[1].bytes();
  } else if (a[1].IsInteger()) {
    style.indent = std::string(static_cast<size_t>(std::clamp(a[1].AsInt(), Int{0}, Int{1024})), ' ');
  }
  if (style.indent) style.item_separator.resize(1);  // lines need no space
  if (!a[2].IsMissing() && !a[2].Is(Kind::kNone)) {
    UM_ASSIGN_OR_RETURN(const std::vector<Value> pair, in.Iterate(a[2]));
    if (pair.size() != 2 || !pair[0].Is(Kind::kText) || !pair[1].Is(Kind::kText)) {
      return in.Error("tojson: separators are two strings");
    }
    style.item_separator = pair[0].bytes();
    style.key_separator = pair[1].bytes();
  }
  UM_ASSIGN_OR_RETURN(Text text, ToJson(in, self, style));
  return in.Str(std::move(text));
}

constexpr FilterRow kRows[] = {
    {"upper", Upper},
    {"lower", Lower},
    {"capitalize", Capitalize},
    {"title", Title},
    {"trim", Trim},
    {"string", String},
    {"replace", Replace},
    {"escape", Escape},
    {"e", Escape},
    {"forceescape", ForceEscape},
    {"safe", Safe},
    {"center", Center},
    {"indent", Indent},
    {"truncate", Truncate},
    {"wordcount", WordCount},
    {"wordwrap", WordWrap},
    {"striptags", StripTags},
    {"urlencode", UrlEncode},
    {"format", Format},
    {"pprint", PrettyPrint},
    {"xmlattr", XmlAttr},
    {"tojson", ToJsonFilter},
};

}  // namespace

std::span<const FilterRow> TextFilters() { return kRows; }

}  // namespace unimax::jinja
