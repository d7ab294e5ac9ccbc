// SPDX-License-Identifier: Apache-2.0
#include "text/scripts.h"

#include <algorithm>
#include <iterator>
#include <string>

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

// Where the package has no script because its tables end with Unicode 9: first and last character, ascending.
struct Range {
  char32_t first, last;
};
constexpr Range kNewer[] = {
    {0x560, 0x560},     {0x588, 0x588},     {0x5eb, 0x5ef},     {0x61d, 0x61d},     {0x7fb, 0x7ff},
    {0x85f, 0x89f},     {0x8b5, 0x8b5},     {0x8be, 0x8d3},     {0x9fc, 0xa00},     {0xa76, 0xa80},
    {0xafa, 0xb00},     {0xb4e, 0xb55},     {0xc04, 0xc04},     {0xc3a, 0xc3c},     {0xc5b, 0xc5f},
    {0xc70, 0xc77},     {0xc84, 0xc84},     {0xcd7, 0xcdd},     {0xcf3, 0xd00},     {0xd04, 0xd04},
    {0xd3b, 0xd3c},     {0xd80, 0xd81},     {0xe85, 0xe86},     {0xe89, 0xe89},     {0xe8b, 0xe8c},
    {0xe8e, 0xe93},     {0xe98, 0xe98},     {0xea0, 0xea0},     {0xea8, 0xea9},     {0xeac, 0xeac},
    {0xeba, 0xeba},     {0x170d, 0x170d},   {0x1715, 0x171f},   {0x180f, 0x180f},   {0x1878, 0x187f},
    {0x1abf, 0x1aff},   {0x1b4c, 0x1b4f},   {0x1b7d, 0x1b7f},   {0x1c89, 0x1cbf},   {0x1cf7, 0x1cf7},
    {0x1cfa, 0x1cff},   {0x1df6, 0x1dfa},   {0x20bf, 0x20cf},   {0x23ff, 0x23ff},   {0x2b96, 0x2b97},
    {0x2bba, 0x2bbc},   {0x2bc9, 0x2bc9},   {0x2bd2, 0x2beb},   {0x2bf0, 0x2bff},   {0x2c2f, 0x2c2f},
    {0x2c5f, 0x2c5f},   {0x2e45, 0x2e7f},   {0x312e, 0x3130},   {0x31bb, 0x31bf},   {0x32ff, 0x32ff},
    {0x4db6, 0x4dbf},   {0x9fd6, 0x9fff},   {0xa7af, 0xa7af},   {0xa7b8, 0xa7f6},   {0xa82c, 0xa82f},
    {0xa8fe, 0xa8ff},   {0xab66, 0xab6f},   {0xfbc2, 0xfbd2},   {0xfd40, 0xfd4f},   {0xfdc8, 0xfdef},
    {0xfdfe, 0xfdff},   {0x1019c, 0x1019f}, {0x10324, 0x1032f}, {0x10570, 0x105ff}, {0x10768, 0x107ff},
    {0x10a34, 0x10a37}, {0x10a48, 0x10a4f}, {0x10d00, 0x10e5f}, {0x10e7f, 0x10fff}, {0x11070, 0x1107e},
    {0x110c2, 0x110cf}, {0x11144, 0x1114f}, {0x111ce, 0x111cf}, {0x1133a, 0x1133b}, {0x1145a, 0x1145a},
    {0x1145e, 0x1147f}, {0x116b8, 0x116bf}, {0x1171a, 0x1171c}, {0x11740, 0x1189f}, {0x11900, 0x11abf},
    {0x11cb7, 0x11fff}, {0x12544, 0x12fff}, {0x1342f, 0x143ff}, {0x16a70, 0x16acf}, {0x16b90, 0x16eff},
    {0x16f45, 0x16f4f}, {0x16f7f, 0x16f8e}, {0x16fe1, 0x16fff}, {0x187ed, 0x187ff}, {0x18af3, 0x1afff},
    {0x1b002, 0x1bbff}, {0x1bca4, 0x1cfff}, {0x1d1e9, 0x1d1ff}, {0x1d246, 0x1d2ff}, {0x1d372, 0x1d3ff},
    {0x1dab0, 0x1dfff}, {0x1e02b, 0x1e7ff}, {0x1e94b, 0x1e94f}, {0x1e960, 0x1edff}, {0x1f10d, 0x1f10f},
    {0x1f12f, 0x1f12f}, {0x1f16c, 0x1f16f}, {0x1f1ad, 0x1f1e5}, {0x1f252, 0x1f2ff}, {0x1f6d3, 0x1f6df},
    {0x1f6f7, 0x1f6ff}, {0x1f7d5, 0x1f7ff}, {0x1f8ae, 0x1f90f}, {0x1f91f, 0x1f91f}, {0x1f928, 0x1f92f},
    {0x1f931, 0x1f932}, {0x1f93f, 0x1f93f}, {0x1f94c, 0x1f94f}, {0x1f95f, 0x1f97f}, {0x1f992, 0x1f9bf},
    {0x1f9c1, 0x1ffff}, {0x2a6d7, 0x2a6ff}, {0x2b735, 0x2b73f}, {0x2cea2, 0x2f7ff}, {0x2fa1e, 0xe0000}};

bool IsNewer(char32_t c) {
  const auto* range = std::upper_bound(std::begin(kNewer), std::end(kNewer), c,
                                       [](char32_t code, const Range& r) { return code < r.first; });
  return range != std::begin(kNewer) && c <= std::prev(range)->last;
}

// Characters of another script than in the Unicode of today, by the package's rules or as Unicode 9 had it; a space has
// none.
constexpr std::string_view kMoved = R"( \x{589}\x{61c}\x{953}\x{954}\x{30fc})";
constexpr std::string_view kMovedToCommon = R"(\x{589}\x{61c})", kMovedToDevanagari = R"(\x{953}\x{954})",
                           kMovedToHan = R"(\p{%Hiragana}\p{%Katakana}\x{30fc})";

// `property`: "sc:", or "" for a PCRE2 before 10.40, where a bare name means the same; later it means more.
std::string Runs(std::string_view property) {
  const auto run = [](std::string_view script, std::string_view more) {
    return fmt::format("(?:[^\\P{{%{}}}{}]|[{}])+", script, kMoved, more);
  };
  std::string all = run("Han", kMovedToHan) + "|" + run("Common", kMovedToCommon);
  for (const std::string_view script : kScripts) {
    all += script == "Devanagari" ? "|" + run(script, kMovedToDevanagari)
                                  : fmt::format("|[^\\P{{%{}}}{}]+", script, kMoved);
  }
  for (size_t at = all.find('%'); at != all.npos; at = all.find('%', at)) all.replace(at, 1, property);
  return all;
}

}  // namespace

Result<Pattern> ScriptRuns() {
  Result<Pattern> runs = Pattern::Regex(Runs("sc:"));
  return runs.ok() ? std::move(runs) : Pattern::Regex(Runs(""));
}

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
    if (IsNewer(c.code)) {
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
