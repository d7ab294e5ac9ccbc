// SPDX-License-Identifier: Apache-2.0
// Row B08: what is cut is put together again, and of kinds that normalize, what the normalizer says is left.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "text/test_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace unimax {
namespace {

constexpr int kCases = UM_SANITIZERS[0] != 0 ? 2000 : 50000;  // of each vocabulary

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string WithoutSpaces(const std::string& text) { return Replaced(text, " ", ""); }

// The words of a text, which spaces part, with one space between them.
std::string OneSpace(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = std::min(text.find_first_not_of(' ', at), text.size());
    at = std::min(text.find(' ', begin), text.size());
    if (begin < at) out += (out.empty() ? "" : " ") + text.substr(begin, at - begin);
  }
  return out;
}

constexpr std::string_view kMark = "\xe2\x96\x81";

std::string Same(const std::string& text) { return text; }
std::string Nfc(const std::string& text) { return utf8::Normalize(text, utf8::Form::kNfc); }
std::string MarksAsSpaces(const std::string& text) { return Replaced(text, kMark, " "); }

// Strips white space at the end, makes one space of many, and puts one at the begin unless one is there.
std::string Stripped(const std::string& text) {
  std::u32string codes = utf8::Decode(text);
  while (!codes.empty() && utf8::IsWhite(codes.back())) codes.pop_back();
  std::string out = Replaced(utf8::Encode(codes), "  ", " ");
  out = MarksAsSpaces(out);
  return out.starts_with(' ') ? out.substr(1) : out;
}

struct Kind {
  const char* name;
  std::string (*left)(const std::string&);             // of valid UTF-8
  std::string (*compared)(const std::string&) = Same;  // both are compared so
  const char* continues = nullptr;                     // not null: only of characters that are pieces, also after this
};
constexpr Kind kKinds[] = {{"bbpe_gpt2", Same},
                           {"bbpe_llama3", Same},
                           {"bbpe_starcoder", Same},
                           {"bbpe_deepseek_v3", Same},
                           {"bbpe_o200k", Same},
                           {"bbpe_qwen2", Nfc},
                           {"spbpe_llama2", MarksAsSpaces},
                           {"spbpe_gemma", MarksAsSpaces},
                           {"unigram_bytefallback", Stripped},
                           {"unigram_xlmr", OneSpace, Same, ""},
                           {"wordpiece_bert_uncased", Same, WithoutSpaces, "##"}};

// Any bytes: broken ones, ASCII, and characters of all planes.
std::string AnyText(std::mt19937& random) {
  std::string text;
  for (size_t n = random() % 24; n > 0; --n) {
    const unsigned kind = random() % 4;
    if (kind == 0) text += static_cast<char>(random() % 256);
    if (kind == 1) text += static_cast<char>(' ' + random() % 95);
    if (kind == 2) utf8::Append(text, static_cast<char32_t>(random() % 0xd800));
    if (kind == 3) utf8::Append(text, static_cast<char32_t>(0x10000 + random() % 0x100000));
  }
  return text;
}

// Characters that the vocabulary has alone and after `continues`, and that nothing is joined with.
std::u32string Alphabet(const Tokenizer& t, std::string_view continues) {
  std::u32string found;
  for (int id = 0; id < t.vocab_size(); ++id) {
    const std::string piece(t.PieceOf(id));
    const std::u32string codes = utf8::Decode(piece);
    if (codes.size() != 1 || piece == kMark || !utf8::IsBoundary(codes[0])) continue;
    if (t.Find(std::string(continues) + piece) && utf8::Normalize(piece, utf8::Form::kNfkc) == piece) found += codes;
  }
  return found;
}

// How many texts do not come back; says the first of them.
int CountFailures(const Kind& kind, const Tokenizer& t) {
  const std::u32string alphabet = kind.continues == nullptr ? U"" : Alphabet(t, kind.continues);
  EXPECT_TRUE(kind.continues == nullptr || alphabet.size() >= 20) << kind.name;
  std::mt19937 random(8);
  int failed = 0;
  for (int i = 0; i < kCases; ++i) {
    std::string text;
    if (alphabet.empty()) text = AnyText(random);
    for (size_t n = alphabet.empty() ? 0 : random() % 24; n > 0; --n) {
      utf8::Append(text, random() % 5 == 0 ? U' ' : alphabet[random() % alphabet.size()]);
    }
    const std::string back = t.Decode(t.Encode(text, false), false);
    if (kind.compared(back) == kind.compared(kind.left(utf8::Sanitize(text)))) continue;
    if (++failed == 1) {
      ADD_FAILURE() << kind.name << ": " << testing::PrintToString(text) << " comes back as "
                    << testing::PrintToString(back);
    }
  }
  return failed;
}

TEST(B08, OnlyNormalizersLose) {
  int failed = 0, cases = 0;
  for (const Kind& kind : kKinds) {
    const std::string path = TestDataFolder() + "/tokenizers/" + kind.name + "/tokenizer.json";
    const auto made = Tokenizer::FromJson(ReadTestFile(path).value_or(""));
    ASSERT_TRUE(made.ok()) << kind.name;
    failed += CountFailures(kind, **made);
    cases += kCases;
  }
  fmt::print("B08 roundtrip_fail={} of={} vocabularies={} {}\n", failed, cases, std::size(kKinds),
             failed == 0 ? "PASS" : "FAIL");
  EXPECT_EQ(failed, 0);
}

}  // namespace
}  // namespace unimax
