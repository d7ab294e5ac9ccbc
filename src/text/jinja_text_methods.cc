// SPDX-License-Identifier: Apache-2.0
// Methods of strings.
#include <algorithm>

#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

using In = Interpreter;

Result<Value> Upper(In& in, const Value& self, const Args&) { return in.Str(UpperOf(self.text())); }
Result<Value> Lower(In& in, const Value& self, const Args&) { return in.Str(LowerOf(self.text())); }
Result<Value> Capitalize(In& in, const Value& self, const Args&) { return in.Str(CapitalOf(self.text())); }
Result<Value> Title(In& in, const Value& self, const Args&) { return in.Str(TitleOf(self.text())); }

Result<Value> SwapCase(In& in, const Value& self, const Args&) { return in.Str(SwapCaseOf(self.text())); }

Result<Value> StripWith(In& in, const Value& self, const Args& args, bool left, bool right) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"chars"}, 0));
  if (a[0].IsMissing() || a[0].Is(Kind::kNone)) return in.Str(StripOf(self.text(), std::nullopt, left, right));
  if (!a[0].Is(Kind::kText)) return in.Error("strip arg must be None or str");
  return in.Str(StripOf(self.text(), a[0].bytes(), left, right));
}
Result<Value> Strip(In& in, const Value& self, const Args& args) { return StripWith(in, self, args, true, true); }
Result<Value> LStrip(In& in, const Value& self, const Args& args) { return StripWith(in, self, args, true, false); }
Result<Value> RStrip(In& in, const Value& self, const Args& args) { return StripWith(in, self, args, false, true); }

Result<Value> SplitWith(In& in, const Value& self, const Args& args, bool from_right) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"sep", "maxsplit"}, 0));
  Int limit = -1;
  if (!a[1].IsMissing()) {
    UM_ASSIGN_OR_RETURN(limit, in.IntOf(a[1]));
  }
  const Text& text = self.text();
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(text.size() / 16)));
  std::vector<std::pair<size_t, size_t>> parts;
  if (a[0].IsMissing() || a[0].Is(Kind::kNone)) {
    parts = WordsOf(text);
    if (limit >= 0 && static_cast<Int>(parts.size()) > limit) {  // Python keeps the space at the far end
      const auto n = static_cast<size_t>(limit);
      if (from_right) {
        const size_t first = parts.size() - n;
        const size_t end = parts[first - 1].second;
        parts.erase(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(first));
        parts.insert(parts.begin(), {0, end});
      } else {
        const size_t begin = parts[n].first;
        parts.resize(n);
        parts.emplace_back(begin, text.size());
      }
    }
  } else {
    if (!a[0].Is(Kind::kText)) return in.Error("must be str or None");
    const std::string& sep = a[0].bytes();
    if (sep.empty()) return in.Error("empty separator");
    const std::string& s = text.bytes();
    if (from_right && limit >= 0) {
      size_t end = s.size();
      while (static_cast<Int>(parts.size()) < limit && end >= sep.size()) {
        const size_t hit = s.rfind(sep, end - sep.size());
        if (hit == s.npos) break;
        parts.emplace_back(hit + sep.size(), end);
        end = hit;
      }
      parts.emplace_back(0, end);
      std::reverse(parts.begin(), parts.end());
    } else {
      size_t begin = 0;
      for (size_t hit = s.find(sep); hit != s.npos && (limit < 0 || static_cast<Int>(parts.size()) < limit);
           hit = s.find(sep, begin)) {
        parts.emplace_back(begin, hit);
        begin = hit + sep.size();
      }
      parts.emplace_back(begin, s.size());
    }
  }
  std::vector<Value> items;
  for (const auto& [begin, end] : parts) {
    UM_RETURN_IF_ERROR(in.Step());
    items.push_back(in.Str(text.Slice(begin, end)));
  }
  return in.heap().List(std::move(items));
}
Result<Value> Split(In& in, const Value& self, const Args& args) { return SplitWith(in, self, args, false); }
Result<Value> RSplit(In& in, const Value& self, const Args& args) { return SplitWith(in, self, args, true); }

Result<Value> SplitLines(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"keepends"}, 0));
  std::vector<Value> lines;
  for (const auto& [begin, end] : LinesOf(self.text(), Truthy(a[0]))) {
    UM_RETURN_IF_ERROR(in.Step());
    lines.push_back(in.Str(self.text().Slice(begin, end)));
  }
  return in.heap().List(std::move(lines));
}

Result<Value> Affix(In& in, const Value& self, const Args& args, bool at_end) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"affix"}, 1));
  std::vector<Value> options{a[0]};
  if (a[0].Is(Kind::kTuple)) options = a[0].list().items;
  for (const Value& o : options) {
    if (!o.Is(Kind::kText)) return in.Error("first arg must be str or a tuple of str");
    if (at_end ? self.bytes().ends_with(o.bytes()) : self.bytes().starts_with(o.bytes())) return Value::Bool(true);
  }
  return Value::Bool(false);
}
Result<Value> StartsWith(In& in, const Value& self, const Args& args) { return Affix(in, self, args, false); }
Result<Value> EndsWith(In& in, const Value& self, const Args& args) { return Affix(in, self, args, true); }

Result<Value> Replace(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"old", "new", "count"}, 2));
  if (!a[0].Is(Kind::kText) || !a[1].Is(Kind::kText)) return in.Error("replace() arguments must be str");
  Int count = -1;
  if (!a[2].IsMissing()) {
    UM_ASSIGN_OR_RETURN(count, in.IntOf(a[2]));
  }
  return ReplaceIn(in, self.text(), a[0].text(), a[1].text(), count);
}

// Place of a string in characters, -1 for none.
Result<Int> Locate(In& in, const Value& self, const Args& args, bool last) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"sub", "start"}, 1));
  if (!a[0].Is(Kind::kText)) return in.Error("must be str");
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(self.bytes().size() / 64)));
  size_t from = 0;
  if (!a[1].IsMissing()) {
    UM_ASSIGN_OR_RETURN(const Value head, in.SliceOf(self, Value::None(), a[1], Value::None()));
    from = head.bytes().size();
  }
  const size_t hit = last ? self.bytes().rfind(a[0].bytes()) : self.bytes().find(a[0].bytes(), from);
  if (hit == std::string::npos || hit < from) return Int{-1};
  return static_cast<Int>(utf8::Length(std::string_view(self.bytes()).substr(0, hit)));
}
Result<Value> Find(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Int at, Locate(in, self, args, false));
  return Value::Integer(at);
}
Result<Value> RFind(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Int at, Locate(in, self, args, true));
  return Value::Integer(at);
}
Result<Value> Index(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Int at, Locate(in, self, args, false));
  return at < 0 ? Result<Value>(in.Error("substring not found")) : Value::Integer(at);
}
Result<Value> RIndex(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Int at, Locate(in, self, args, true));
  return at < 0 ? Result<Value>(in.Error("substring not found")) : Value::Integer(at);
}

Result<Value> Count(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"sub"}, 1));
  if (!a[0].Is(Kind::kText)) return in.Error("must be str");
  const std::string& s = self.bytes();
  const std::string& sub = a[0].bytes();
  if (sub.empty()) return Value::Integer(static_cast<Int>(utf8::Length(s)) + 1);
  Int n = 0;
  for (size_t at = s.find(sub); at != s.npos; at = s.find(sub, at + sub.size())) ++n;
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(s.size() / 64) + static_cast<int64_t>(n)));
  return Value::Integer(n);
}

Result<Value> Join(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"iterable"}, 1));
  UM_ASSIGN_OR_RETURN(const std::vector<Value> items, in.Iterate(a[0]));
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].Is(Kind::kText)) return in.Error("sequence item: expected str instance");
    UM_RETURN_IF_ERROR(in.Charge(self.bytes().size() + items[i].bytes().size()));
    if (i > 0) out.Append(self.text());
    out.Append(items[i].text());
  }
  return in.Str(std::move(out));
}

Result<Value> PartitionWith(In& in, const Value& self, const Args& args, bool last) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"sep"}, 1));
  if (!a[0].Is(Kind::kText) || a[0].bytes().empty()) return in.Error("empty separator");
  const Text& text = self.text();
  const size_t hit = last ? text.bytes().rfind(a[0].bytes()) : text.bytes().find(a[0].bytes());
  const Value none = in.heap().String("");
  if (hit == std::string::npos) {
    return last ? in.heap().Tuple({none, none, self}) : in.heap().Tuple({self, none, none});
  }
  const size_t end = hit + a[0].bytes().size();
  return in.heap().Tuple(
      {in.Str(text.Slice(0, hit)), in.Str(text.Slice(hit, end)), in.Str(text.Slice(end, text.size()))});
}
Result<Value> Partition(In& in, const Value& self, const Args& args) { return PartitionWith(in, self, args, false); }
Result<Value> RPartition(In& in, const Value& self, const Args& args) { return PartitionWith(in, self, args, true); }

Result<Value> PadWith(In& in, const Value& self, const Args& args, Side side) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"width", "fillchar"}, 1));
  UM_ASSIGN_OR_RETURN(const Int width, in.IntOf(a[0]));
  const std::string fill = a[1].Is(Kind::kText) ? a[1].bytes() : " ";
  if (utf8::Length(fill) != 1) return in.Error("the fill character must be exactly one character long");
  return Pad(in, self.text(), width, fill, side);
}
Result<Value> Center(In& in, const Value& self, const Args& args) { return PadWith(in, self, args, Side::kBoth); }
Result<Value> LJust(In& in, const Value& self, const Args& args) { return PadWith(in, self, args, Side::kRight); }
Result<Value> RJust(In& in, const Value& self, const Args& args) { return PadWith(in, self, args, Side::kLeft); }

Result<Value> ZFill(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"width"}, 1));
  UM_ASSIGN_OR_RETURN(const Int width, in.IntOf(a[0]));
  const Text& text = self.text();
  if (text.size() == 0 || (text.bytes()[0] != '-' && text.bytes()[0] != '+')) {
    return Pad(in, text, width, "0", Side::kLeft);
  }
  UM_ASSIGN_OR_RETURN(const Value rest, Pad(in, text.Slice(1, text.size()), width - 1, "0", Side::kLeft));
  Text out = text.Slice(0, 1);
  out.Append(rest.text());
  return in.Str(std::move(out));
}

Result<Value> RemovePrefix(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"prefix"}, 1));
  if (!a[0].Is(Kind::kText) || !self.bytes().starts_with(a[0].bytes())) return self;
  return in.Str(self.text().Slice(a[0].bytes().size(), self.bytes().size()));
}
Result<Value> RemoveSuffix(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"suffix"}, 1));
  if (!a[0].Is(Kind::kText) || !self.bytes().ends_with(a[0].bytes())) return self;
  return in.Str(self.text().Slice(0, self.bytes().size() - a[0].bytes().size()));
}

// Whether the text is not empty and `is` holds for all its characters.
template <class F>
Result<Value> All(const Value& self, F is) {
  const std::string& s = self.bytes();
  for (size_t i = 0; i < s.size(); i += static_cast<size_t>(utf8::At(s, i).length)) {
    if (!is(utf8::At(s, i).code)) return Value::Bool(false);
  }
  return Value::Bool(!s.empty());
}
bool IsLetter(char32_t c) { return utf8::IsAlphabetic(c) && !utf8::IsNumeric(c) && !utf8::IsSymbol(c); }
bool IsDigitLike(char32_t c) {
  return utf8::IsDecimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || (c >= 0x2070 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089);
}
Result<Value> IsAlpha(In&, const Value& self, const Args&) { return All(self, IsLetter); }
Result<Value> IsDigit(In&, const Value& self, const Args&) { return All(self, IsDigitLike); }
Result<Value> IsDecimal(In&, const Value& self, const Args&) { return All(self, utf8::IsDecimal); }
Result<Value> IsNumeric(In&, const Value& self, const Args&) { return All(self, utf8::IsNumeric); }
Result<Value> IsSpace(In&, const Value& self, const Args&) { return All(self, IsPythonSpace); }
Result<Value> IsAlnum(In&, const Value& self, const Args&) {
  return All(self, [](char32_t c) { return IsLetter(c) || utf8::IsNumeric(c); });
}
Result<Value> IsUpper(In&, const Value& self, const Args&) {
  const Text& t = self.text();
  return Value::Bool(UpperOf(t).bytes() == t.bytes() && LowerOf(t).bytes() != t.bytes());
}
Result<Value> IsLower(In&, const Value& self, const Args&) {
  const Text& t = self.text();
  return Value::Bool(LowerOf(t).bytes() == t.bytes() && UpperOf(t).bytes() != t.bytes());
}

// Words begin with a capital letter, and all their other letters are small.
Result<Value> IsTitle(In&, const Value& self, const Args&) {
  const Text& t = self.text();
  return Value::Bool(TitleOf(t).bytes() == t.bytes() && UpperOf(t).bytes() != LowerOf(t).bytes());
}
Result<Value> IsAscii(In&, const Value& self, const Args&) { return Value::Bool(utf8::IsAscii(self.bytes())); }
Result<Value> IsIdentifier(In&, const Value& self, const Args&) {
  const std::string& s = self.bytes();
  const char32_t first = s.empty() ? U'0' : utf8::At(s, 0).code;
  const bool begins = first == '_' || utf8::IsAlphabetic(first);
  return begins ? All(self, [](char32_t c) { return IsPythonWord(c) || utf8::IsCombining(c); }) : Value::Bool(false);
}

Result<Value> ExpandTabs(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"tabsize"}, 0));
  Int size = 8;
  if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(size, in.IntOf(a[0]));
  }
  const Text& text = self.text();
  Text out;
  Int column = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t end = i + static_cast<size_t>(utf8::At(text.bytes(), i).length);
    const char c = text.bytes()[i];
    if (c == '\t') {
      const Int n = size > 0 ? size - column % size : 0;
      UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(std::min(n, Int{1} << 40))));
      out.Append(std::string(static_cast<size_t>(n), ' '), text.UntrustedAt(i));
      column += n;
    } else {
      out.Append(text, i, end);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    i = end;
  }
  return in.Str(std::move(out));
}

Result<Value> CaseFold(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const Value folded, ReplaceIn(in, self.text(), Text("\xc3\x9f"), Text("ss"), -1));
  return Lower(in, folded, args);
}

Result<Value> Format(In& in, const Value& self, const Args& args) { return BraceFormat(in, self.text(), args); }

// Templates ask whether it is there; its result would be bytes, which templates cannot use.
Result<Value> Encode(In& in, const Value&, const Args&) { return in.Error("encode() makes bytes: not supported"); }

constexpr FilterRow kRows[] = {
    {"upper", Upper},
    {"lower", Lower},
    {"capitalize", Capitalize},
    {"title", Title},
    {"swapcase", SwapCase},
    {"strip", Strip},
    {"lstrip", LStrip},
    {"rstrip", RStrip},
    {"split", Split},
    {"rsplit", RSplit},
    {"splitlines", SplitLines},
    {"startswith", StartsWith},
    {"endswith", EndsWith},
    {"replace", Replace},
    {"find", Find},
    {"rfind", RFind},
    {"index", Index},
    {"rindex", RIndex},
    {"count", Count},
    {"join", Join},
    {"partition", Partition},
    {"rpartition", RPartition},
    {"center", Center},
    {"ljust", LJust},
    {"rjust", RJust},
    {"zfill", ZFill},
    {"removeprefix", RemovePrefix},
    {"removesuffix", RemoveSuffix},
    {"isalpha", IsAlpha},
    {"isdigit", IsDigit},
    {"isdecimal", IsDecimal},
    {"isnumeric", IsNumeric},
    {"isspace", IsSpace},
    {"isalnum", IsAlnum},
    {"isupper", IsUpper},
    {"islower", IsLower},
    {"istitle", IsTitle},
    {"isascii", IsAscii},
    {"isidentifier", IsIdentifier},
    {"expandtabs", ExpandTabs},
    {"casefold", CaseFold},
    {"format", Format},
    {"encode", Encode},
};

}  // namespace

std::span<const FilterRow> TextMethods() { return kRows; }

}  // namespace unimax::jinja
