// SPDX-License-Identifier: Apache-2.0
// The filter wordwrap: what Python's textwrap makes of each line of a text.
#include <algorithm>

#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

// The characters of a line and where they begin in it; a place outside has none.
struct Line {
  explicit Line(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size();) {
      const utf8::Char c = utf8::At(bytes, i);
      codes.push_back(c.code);
      begins.push_back(i);
      i += static_cast<size_t>(c.length);
    }
    begins.push_back(bytes.size());
  }
  char32_t At(size_t i) const { return i < codes.size() ? codes[i] : 0; }
  char32_t Before(size_t i, size_t back) const { return i >= back ? codes[i - back] : 0; }
  size_t size() const { return codes.size(); }
  std::u32string codes;
  std::vector<size_t> begins;
};

// [begin, end) in characters: a run of white space, a word or a part of one.
struct Chunk {
  size_t begin, end;
};

bool IsBreak(char32_t c) { return (c >= 9 && c <= 13) || c == ' '; }  // where textwrap parts a text
bool IsLetter(char32_t c) { return IsPythonWord(c) && !utf8::IsDecimal(c); }
// What a dash may stand behind.
bool EndsWord(char32_t c) {
  return IsPythonWord(c) || c == '!' || c == '"' || c == '\'' || c == '&' || c == '.' || c == ',' || c == '?';
}

// The end of two or more hyphens at `at` that join words; `at` where there are none.
size_t DashEnd(const Line& line, size_t at) {
  size_t end = at;
  if (at == 0 || !EndsWord(line.At(at - 1))) return at;
  while (line.At(end) == '-') ++end;
  return end - at >= 2 && IsPythonWord(line.At(end)) ? end : at;
}

// Whether a word may be parted behind the hyphen at `at`: letters stand around it, two before it or one and a hyphen.
bool PartsAfter(const Line& line, size_t at) {
  const bool before = IsLetter(line.Before(at, 1)) &&
                      (IsLetter(line.Before(at, 2)) || (line.Before(at, 2) == '-' && IsLetter(line.Before(at, 3))));
  const size_t next = line.At(at + 2) == '-' ? at + 3 : at + 2;
  return before && IsLetter(line.At(at + 1)) && IsLetter(line.At(next));
}

std::vector<Chunk> Chunks(const Line& line, bool at_hyphens) {
  std::vector<Chunk> chunks;
  for (size_t begin = 0, end = 0; begin < line.size(); begin = end) {
    if (IsBreak(line.At(begin))) {
      while (end < line.size() && IsBreak(line.At(end))) ++end;
    } else if (at_hyphens && DashEnd(line, begin) > begin) {
      end = DashEnd(line, begin);
    } else {
      for (end = begin + 1; end < line.size() && !IsBreak(line.At(end)); ++end) {
        if (!at_hyphens || line.At(end) != '-') continue;
        const bool part = PartsAfter(line, end);
        if (part) ++end;
        if (part || DashEnd(line, end) > end) break;
      }
    }
    chunks.push_back({begin, end});
  }
  return chunks;
}

struct Style {
  size_t width = 79;
  bool cut_words = true, at_hyphens = true;
};

bool IsBlank(const Line& line, const Chunk& c) {
  return std::all_of(line.codes.begin() + static_cast<ptrdiff_t>(c.begin),
                     line.codes.begin() + static_cast<ptrdiff_t>(c.end), IsPythonSpace);
}

// How much of a chunk that is longer than a line goes into the `room` that is left.
size_t Taken(const Line& line, const Chunk& c, size_t room, bool at_hyphens) {
  if (!at_hyphens || c.end - c.begin <= room) return std::min(room, c.end - c.begin);
  size_t hyphen = room;  // the last one within the room, but for hyphens that begin the chunk
  while (hyphen > 0 && line.At(c.begin + hyphen - 1) != '-') --hyphen;
  for (size_t i = 0; i + 1 < hyphen; ++i) {
    if (line.At(c.begin + i) != '-') return hyphen;
  }
  return room;
}

// The lines that one line becomes: runs of its characters.
std::vector<Chunk> Wrap(const Line& line, const Style& style) {
  const std::vector<Chunk> chunks = Chunks(line, style.at_hyphens);
  std::vector<Chunk> lines;
  std::vector<Chunk> rest(chunks.rbegin(), chunks.rend());  // the next one last
  while (!rest.empty()) {
    if (!lines.empty() && IsBlank(line, rest.back())) rest.pop_back();
    std::vector<Chunk> taken;
    size_t length = 0;
    const auto take = [&](const Chunk& c) {
      taken.push_back(c);
      length += c.end - c.begin;
    };
    while (!rest.empty() && length + (rest.back().end - rest.back().begin) <= style.width) {
      take(rest.back());
      rest.pop_back();
    }
    if (!rest.empty() && rest.back().end - rest.back().begin > style.width) {
      Chunk& next = rest.back();
      if (style.cut_words) {
        const size_t cut = next.begin + Taken(line, next, style.width - length, style.at_hyphens);
        take({next.begin, cut});  // also where it is empty: the space before it then stays
        next.begin = cut;
        if (next.begin == next.end) rest.pop_back();
      } else if (taken.empty()) {
        take(next);
        rest.pop_back();
      }
    }
    if (!taken.empty() && IsBlank(line, taken.back())) taken.pop_back();
    if (!taken.empty()) lines.push_back({taken.front().begin, taken.back().end});
  }
  return lines;
}

}  // namespace

Result<Value> WordWrap(Interpreter& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"width", "break_long_words", "wrapstring", "break_on_hyphens"}, 0));
  if (!self.Is(Kind::kText)) return in.Error(fmt::format("wordwrap needs a string, not {}", TypeName(self)));
  Style style;
  if (!a[0].IsMissing()) {
    UM_ASSIGN_OR_RETURN(const Int width, in.IntOf(a[0]));
    if (width <= 0 && self.text().size() > 0) return in.Error("wordwrap needs a positive width");
    style.width = static_cast<size_t>(std::clamp(width, Int{1}, Int{1} << 30));
  }
  style.cut_words = a[1].IsMissing() || Truthy(a[1]);
  style.at_hyphens = a[3].IsMissing() || Truthy(a[3]);
  Text mark(std::string("\n"));
  if (a[2].Is(Kind::kText)) mark = a[2].text();
  const Text& text = self.text();
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(text.size() / 8)));
  Text out;
  bool first = true;
  const auto part = [&] {
    if (!first) out.Append(mark);
    first = false;
  };
  for (const auto& [begin, end] : LinesOf(text, false)) {
    const Line line(std::string_view(text.bytes()).substr(begin, end - begin));
    const std::vector<Chunk> lines = Wrap(line, style);
    UM_RETURN_IF_ERROR(in.Charge((lines.size() + 1) * mark.size()));
    for (const Chunk& c : lines) {
      part();
      out.Append(text, begin + line.begins[c.begin], begin + line.begins[c.end]);
    }
    if (lines.empty()) part();
  }
  return in.Str(std::move(out));
}

}  // namespace unimax::jinja
