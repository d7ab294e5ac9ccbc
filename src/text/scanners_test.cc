// SPDX-License-Identifier: Apache-2.0
// The hand-written scanners against the expressions that they replace, and the merger against its slow twin.
#include "text/scanners.h"

#include <gtest/gtest.h>

#include <random>

#include "text/merge.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace unimax {
namespace {

// A text whose characters come from few classes, so that every alternative of a pattern comes up often.
std::string RandomText(std::mt19937& random) {
  static const std::u32string kChars =
      U"abzAZstmdrvel'''  \t\n\r\v\u0085\u00a0\u2003\u3000019\u0663\u00b2\u2167.,!_-\u2019"
      U"\u00e9\u017f\u0130\u212a\u0416\u4e2d\u3042\uac00\u0301\u200d\U0001f600\u01c5\u0903\u2581";
  std::u32string text;
  const size_t length = random() % 40;
  for (size_t i = 0; i < length; ++i) {
    const char32_t c = kChars[random() % kChars.size()];
    text.append(random() % 4 == 0 ? 1 + random() % 5 : 1, c);
  }
  return utf8::Encode(text);
}

std::string Shown(const std::vector<Span>& spans) {
  std::string out;
  for (const Span& s : spans) out += fmt::format("{}-{}{} ", s.begin, s.end, s.match ? "" : "?");
  return out;
}

TEST(Scanners, EqualTheirExpressions) {
  for (const std::string_view regex : {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern}) {
    ASSERT_NE(FindScanner(regex), nullptr) << regex;
    const auto fast = Pattern::Regex(regex);
    const auto slow = Pattern::Regex(regex, false);
    ASSERT_TRUE(fast.ok() && slow.ok());
    std::mt19937 random(7);
    for (int i = 0; i < 20000; ++i) {
      const std::string text = RandomText(random);
      ASSERT_EQ(Shown(fast->Cut(text)), Shown(slow->Cut(text))) << regex << "\n" << text;
    }
    for (char32_t c = 0; c < 0x3000; ++c) {  // each character between others, where both know it
      if (!utf8::IsAssigned(c)) continue;
      const std::u32string text32{U'a', c, U'1', U' ', c, c, U'\'', c};
      const std::string text = utf8::Encode(text32);
      EXPECT_EQ(Shown(fast->Cut(text)), Shown(slow->Cut(text))) << regex << "\n" << static_cast<uint32_t>(c);
    }
  }
}

TEST(Scanners, OthersHaveNone) { EXPECT_EQ(FindScanner(R"(\p{L}+)"), nullptr); }

// Looks at all pairs before every merge.
std::vector<Symbol> SlowMerge(const MergeTable& table, std::vector<Symbol> symbols) {
  while (true) {
    size_t best = symbols.size();
    MergeTable::Merge merge{-1, -1};
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = table.Find(symbols[i].id, symbols[i + 1].id);
      if (found.rank < 0 || (merge.rank >= 0 && found.rank >= merge.rank)) continue;
      merge = found;
      best = i;
    }
    if (merge.rank < 0) return symbols;
    symbols[best] = {merge.result, symbols[best].width + symbols[best + 1].width};
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// Random tables, also such that no training gives: ranks that several pairs share, results that come before their
// parts, and cycles.
TEST(Merger, EqualsItsSlowTwin) {
  std::mt19937 random(11);
  Merger merger;
  size_t joined = 0;
  for (int round = 0; round < 300; ++round) {
    MergeTable table;
    const unsigned ids = 3 + random() % 12;
    const auto id = [&] { return static_cast<int>(random() % ids); };
    for (unsigned i = 0; i < ids * 2; ++i) {
      const int left = id(), right = id(), rank = static_cast<int>(random() % (ids + i));
      table.Add(left, right, rank, id());
    }
    for (const size_t length : {2u, 7u, 48u, 49u, 200u}) {
      std::vector<Symbol> symbols(length);
      for (Symbol& s : symbols) s = {id(), 1};
      const auto expected = SlowMerge(table, symbols);
      merger.Run(table, symbols);
      ASSERT_EQ(symbols.size(), expected.size());
      for (size_t i = 0; i < symbols.size(); ++i) {
        ASSERT_EQ(symbols[i].id, expected[i].id);
        ASSERT_EQ(symbols[i].width, expected[i].width);
      }
      joined += length - symbols.size();
    }
  }
  EXPECT_GT(joined, 10000u);
}

}  // namespace
}  // namespace unimax
