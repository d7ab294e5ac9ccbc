// SPDX-License-Identifier: Apache-2.0
// Compares tokenizers with results recorded from the Python packages.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "text/test_cases.h"
#include "text/test_files.h"
#include "text/tokenizer.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

class Golden : public testing::TestWithParam<const char*> {};

// The file of that name, or its packed form.
std::string PlainOrPacked(const std::string& path) { return ReadTestFile(path) ? path : path + ".gz"; }

void CheckFolder(const char* name, const char* file) {
  const std::string folder = TestDataFolder() + "/tokenizers/" + name;
  const auto made = LoadTestTokenizer(PlainOrPacked(folder + "/" + file));
  ASSERT_TRUE(made.ok()) << made.status().text();
  const CaseReport report = CheckCases(**made, ReadJsonLines(folder + "/expected.jsonl.gz"));
  EXPECT_EQ(report.cases, 341);
  EXPECT_EQ(report.wrong, 0) << report.shown;
  fmt::print("fixtures tokenizers/{} passed={} of {}\n", name, report.cases - report.wrong, report.cases);
}

TEST_P(Golden, EqualsThePackage) { CheckFolder(GetParam(), "tokenizer.json"); }

INSTANTIATE_TEST_SUITE_P(ByteLevelBpe, Golden,
                         testing::Values("bbpe_deepseek_coder", "bbpe_deepseek_llm", "bbpe_deepseek_v3", "bbpe_falcon",
                                         "bbpe_flags", "bbpe_gpt2", "bbpe_llama3", "bbpe_norm_bytelevel", "bbpe_o200k",
                                         "bbpe_qwen2", "bbpe_roberta", "bbpe_starcoder"));
INSTANTIATE_TEST_SUITE_P(SentencePieceBpe, Golden,
                         testing::Values("spbpe_gemma", "spbpe_llama2", "spbpe_llama2_flags", "spbpe_metaspace_always",
                                         "spbpe_metaspace_first", "spbpe_metaspace_never"));

INSTANTIATE_TEST_SUITE_P(Unigram, Golden, testing::Values("unigram_t5", "unigram_xlmr", "unigram_bytefallback"));
INSTANTIATE_TEST_SUITE_P(Words, Golden,
                         testing::Values("wordlevel", "wordpiece_bert_cased", "wordpiece_bert_uncased",
                                         "wordpiece_plain"));

// Files of the package `sentencepiece`, in which text never becomes a control token and control ids have no text.
class SentencePiece : public testing::TestWithParam<const char*> {};

TEST_P(SentencePiece, EqualsThePackage) { CheckFolder(GetParam(), "tokenizer.model"); }

INSTANTIATE_TEST_SUITE_P(Models, SentencePiece,
                         testing::Values("sp_bpe_gemma", "sp_bpe_llama", "sp_unigram_bytefallback",
                                         "sp_unigram_nmt_nfkc"));

// What tests/other_seed.py --write recorded: tokenizers that a seed drew, and GGUF vocabularies of some.
TEST(OtherSeed, EqualsThePackages) {
  int tokenizers = 0, cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TestDataFolder() + "/other_seed")) {
    if (!entry.is_directory()) continue;
    for (const auto& file : std::filesystem::directory_iterator(entry)) {
      if (file.path().filename() == "expected.jsonl.gz") continue;
      const auto made = LoadTestTokenizer(file.path());
      ASSERT_TRUE(made.ok()) << entry.path() << made.status().text();
      const CaseReport report = CheckCases(**made, ReadJsonLines(entry.path().string() + "/expected.jsonl.gz"));
      EXPECT_EQ(report.wrong, 0) << entry.path() << report.shown;
      EXPECT_GT(report.cases, 50) << entry.path();
      ++tokenizers;
      cases += report.cases;
    }
  }
  fmt::print("another seed: tokenizers={} cases={}\n", tokenizers, cases);
  EXPECT_GE(tokenizers, 40);
}

// Offsets as the package gives them, made by tests/make/offsets.py.
TEST(Offsets, EqualThePackage) {
  std::map<std::string, std::pair<std::unique_ptr<Tokenizer>, std::vector<json>>> loaded;
  std::map<std::string, std::pair<int, int>> counts;  // texts, wrong ones
  for (const json& line : ReadJsonLines(TestDataFolder() + "/tokenizers/offsets.jsonl.gz")) {
    const auto name = line[0].get<std::string>();
    auto& [tokenizer, lines] = loaded[name];
    if (tokenizer == nullptr) {
      const std::string folder = TestDataFolder() + "/tokenizers/" + name;
      auto made = Tokenizer::FromJson(ReadTestFile(folder + "/tokenizer.json").value_or(""));
      ASSERT_TRUE(made.ok()) << name;
      tokenizer = std::move(*made);
      lines = ReadJsonLines(folder + "/expected.jsonl.gz");
    }
    const auto text = lines[line[1].get<size_t>()]["text"].get<std::string>();
    std::vector<size_t> got;
    for (const Token& token : tokenizer->EncodeOffsets(text, false)) {
      got.push_back(token.begin);
      got.push_back(token.end);
      EXPECT_LE(token.begin, token.end);
      EXPECT_LE(token.end, text.size());
    }
    auto& [texts, wrong] = counts[name];
    ++texts;
    if (got == line[2].get<std::vector<size_t>>()) continue;
    if (++wrong <= 2)
      fmt::print("{} {}\n got  {}\n want {}\n", name, json(text).dump(), json(got).dump(), line[2].dump());
  }
  EXPECT_EQ(counts.size(), 12u);
  for (const auto& [name, count] : counts) {
    EXPECT_GT(count.first, 200) << name;
    EXPECT_EQ(count.second, 0) << name;
  }
}

TEST(TinyTokenizer, EqualsThePackage) {
  const auto made = Tokenizer::FromJson(ReadTestFile(TestDataFolder() + "/llama3/tokenizer.json").value_or(""));
  ASSERT_TRUE(made.ok()) << made.status().text();
  const json cases =
      json::parse(ReadTestFile(TestDataFolder() + "/llama3/tiny_tokenizer_check.json").value_or(""), nullptr, false);
  ASSERT_GT(cases.size(), 3u);
  for (const json& c : cases) {
    EXPECT_EQ(made.value()->Encode(c["text"].get<std::string>(), true), c["ids"].get<std::vector<int>>()) << c["text"];
    EXPECT_EQ(made.value()->Encode(c["text"].get<std::string>(), false), c["ids_plain"].get<std::vector<int>>());
  }
}

// Texts of a ggml-vocab recording and the ids it gives them.
void CheckRecording(const std::string& name) {
  const std::string base = PublicDataFolder() + "/gguf-vocab/ggml-vocab-" + name + ".gguf";
  const auto bytes = ReadTestFile(base + ".gz");
  const auto inputs = ReadTestFile(base + ".inp");
  const auto outputs = ReadTestFile(base + ".out");
  if (!bytes || !inputs || !outputs) GTEST_SKIP() << "no recordings at " << base;
  const auto vocab = ReadGgufVocab(*bytes);
  ASSERT_TRUE(vocab.has_value());
  const auto made = Tokenizer::FromVocab(*vocab);
  ASSERT_TRUE(made.ok()) << made.status().text();
  const std::string border = "\n__ggml_vocab_test__\n";
  std::istringstream lines(*outputs);
  size_t at = 0;
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const size_t end = std::min(inputs->find(border, at), inputs->size());
    const std::string text = inputs->substr(at, end - at);
    at = std::min(end + border.size(), inputs->size());
    std::istringstream numbers(line);
    std::vector<int> ids;
    for (int id = 0; numbers >> id;) ids.push_back(id);
    EXPECT_EQ(made.value()->Encode(text, false), ids) << text;
  }
  fmt::print("public/gguf-vocab/{} passed={} of {}\n", name, testing::Test::HasFailure() ? 0 : cases, cases);
  EXPECT_EQ(cases, 46);
}

TEST(GgufVocab, Gpt2EqualsTheRecording) { CheckRecording("gpt-2"); }
TEST(GgufVocab, LlamaEqualsTheRecording) { CheckRecording("llama-spm"); }

}  // namespace
}  // namespace unimax
