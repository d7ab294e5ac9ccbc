// SPDX-License-Identifier: Apache-2.0
#include "text/scripts.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "text/unicode_ages.h"
#include "text/utf8.h"

namespace unimax {
namespace {

// Those of Unicode 9, which the package `tokenizers` knows; the most frequent first. Han and Common are made by hand.
constexpr std::string_view kScripts[] = {"Latin",
                                         "Cyrillic",
                                         "Arabic",
                                         "Hangul",
                                         "Greek",
                                         "Devanagari",
                                         "Hebrew",
                                         "Thai",
                                         "Inherited",
                                         "Adlam",
                                         "Ahom",
                                         "Anatolian_Hieroglyphs",
                                         "Armenian",
                                         "Avestan",
                                         "Balinese",
                                         "Bamum",
                                         "Bassa_Vah",
                                         "Batak",
                                         "Bengali",
                                         "Bhaiksuki",
                                         "Bopomofo",
                                         "Brahmi",
                                         "Braille",
                                         "Buginese",
                                         "Buhid",
                                         "Canadian_Aboriginal",
                                         "Carian",
                                         "Caucasian_Albanian",
                                         "Chakma",
                                         "Cham",
                                         "Cherokee",
                                         "Coptic",
                                         "Cuneiform",
                                         "Cypriot",
                                         "Deseret",
                                         "Duployan",
                                         "Egyptian_Hieroglyphs",
                                         "Elbasan",
                                         "Ethiopic",
                                         "Georgian",
                                         "Glagolitic",
                                         "Gothic",
                                         "Grantha",
                                         "Gujarati",
                                         "Gurmukhi",
                                         "Hanunoo",
                                         "Hatran",
                                         "Imperial_Aramaic",
                                         "Inscriptional_Pahlavi",
                                         "Inscriptional_Parthian",
                                         "Javanese",
                                         "Kaithi",
                                         "Kannada",
                                         "Kayah_Li",
                                         "Kharoshthi",
                                         "Khmer",
                                         "Khojki",
                                         "Khudawadi",
                                         "Lao",
                                         "Lepcha",
                                         "Limbu",
                                         "Linear_A",
                                         "Linear_B",
                                         "Lisu",
                                         "Lycian",
                                         "Lydian",
                                         "Mahajani",
                                         "Malayalam",
                                         "Mandaic",
                                         "Manichaean",
                                         "Marchen",
                                         "Meetei_Mayek",
                                         "Mende_Kikakui",
                                         "Meroitic_Cursive",
                                         "Meroitic_Hieroglyphs",
                                         "Miao",
                                         "Modi",
                                         "Mongolian",
                                         "Mro",
                                         "Multani",
                                         "Myanmar",
                                         "Nabataean",
                                         "New_Tai_Lue",
                                         "Newa",
                                         "Nko",
                                         "Ogham",
                                         "Ol_Chiki",
                                         "Old_Hungarian",
                                         "Old_Italic",
                                         "Old_North_Arabian",
                                         "Old_Permic",
                                         "Old_Persian",
                                         "Old_South_Arabian",
                                         "Old_Turkic",
                                         "Oriya",
                                         "Osage",
                                         "Osmanya",
                                         "Pahawh_Hmong",
                                         "Palmyrene",
                                         "Pau_Cin_Hau",
                                         "Phags_Pa",
                                         "Phoenician",
                                         "Psalter_Pahlavi",
                                         "Rejang",
                                         "Runic",
                                         "Samaritan",
                                         "Saurashtra",
                                         "Sharada",
                                         "Shavian",
                                         "Siddham",
                                         "SignWriting",
                                         "Sinhala",
                                         "Sora_Sompeng",
                                         "Sundanese",
                                         "Syloti_Nagri",
                                         "Syriac",
                                         "Tagalog",
                                         "Tagbanwa",
                                         "Tai_Le",
                                         "Tai_Tham",
                                         "Tai_Viet",
                                         "Takri",
                                         "Tamil",
                                         "Tangut",
                                         "Telugu",
                                         "Thaana",
                                         "Tibetan",
                                         "Tifinagh",
                                         "Tirhuta",
                                         "Ugaritic",
                                         "Vai",
                                         "Warang_Citi",
                                         "Yi"};

// Characters of another script than in the Unicode of today, by the package's rules or as Unicode 9 had it; a space has
// none.
constexpr std::string_view kMoved = R"( \x{589}\x{61c}\x{953}\x{954}\x{30fc})";
constexpr std::string_view kMovedToCommon = R"(\x{589}\x{61c})", kMovedToDevanagari = R"(\x{953}\x{954})",
                           kMovedToHan = R"(\p{Hiragana}\p{Katakana}\x{30fc})";

std::string Runs() {
  const auto run = [](std::string_view script, std::string_view more) {
    return fmt::format("(?:[^\\P{{{}}}{}]|[{}])+", script, kMoved, more);
  };
  std::string all = run("Han", kMovedToHan) + "|" + run("Common", kMovedToCommon);
  for (const std::string_view script : kScripts) {
    all += script == "Devanagari" ? "|" + run(script, kMovedToDevanagari)
                                  : fmt::format("|[^\\P{{{}}}{}]+", script, kMoved);
  }
  return all;
}

}  // namespace

bool IsScript(std::string_view name) {
  return name == "Han" || name == "Hiragana" || name == "Katakana" || name == "Common" ||
         std::find(std::begin(kScripts), std::end(kScripts), name) != std::end(kScripts);
}

Result<Pattern> ScriptRuns() { return Pattern::Regex(Runs()); }

namespace {

// The runs of one script in `text`; gaps are left out.
void FindRuns(Cutter& cutter, std::string_view text, std::vector<Span>& runs) {
  size_t begin = 0;
  std::vector<Span> found;
  const auto cut = [&](size_t end) {
    found.clear();
    cutter.Cut(text.substr(begin, end - begin), found);
    for (const Span& run : found) {
      if (run.match) runs.push_back(MakeSpan(begin + run.begin, begin + run.end, true));
    }
  };
  for (size_t i = 0; i < text.size();) {
    const utf8::Char c = utf8::At(text, i);
    const size_t next = i + static_cast<size_t>(c.length);
    if (utf8::AgeOf(c.code) > 9) {  // the package knows no script of it
      cut(i);
      begin = next;
    }
    i = next;
  }
  cut(text.size());
}

}  // namespace

void CutScripts(Cutter& cutter, std::string_view text, std::vector<Span>& spans) {
  std::vector<Span> runs, joined;
  FindRuns(cutter, text, runs);
  size_t last = 0, end = 0;  // where the last run's last character begins, and where that run ends
  std::string pair;
  const size_t before = spans.size();
  for (const Span& run : runs) {
    bool same = false;
    if (spans.size() > before && end < run.begin) {  // of one script, if what stands around the gap is one run
      pair.assign(text.substr(last, end - last));
      pair += text.substr(run.begin, static_cast<size_t>(utf8::At(text, run.begin).length));
      joined.clear();
      cutter.Cut(pair, joined);
      same = joined.size() == 1;
    }
    if (spans.size() > before) spans.back().end = same ? run.end : run.begin;  // a gap goes with what it follows
    if (!same) spans.push_back(run);
    last = end = run.end;
    do --last;
    while (last > run.begin && (static_cast<uint8_t>(text[last]) & 0xc0) == 0x80);
  }
  if (spans.size() > before) spans.back().end = static_cast<uint32_t>(text.size());
}

}  // namespace unimax
