// SPDX-License-Identifier: Apache-2.0
// TunableOp's files: three of the formats that PyTorch has written (made for these tests), and hostile ones.
#include "kernels/tunable_op.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

namespace unimax {
namespace {

std::string Recorded(const char* name) {
  std::ifstream file(std::string(UM_SOURCE_DIR) + "/tests/data/tunableop/" + name, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TunableFile Parsed(const std::string& text) {
  auto file = ParseTunableOp(text);
  EXPECT_TRUE(file.ok()) << file.status().text();
  return file.ok() ? std::move(file).value() : TunableFile();
}

TEST(TunableOp, RecordedFilesAreReadAndWrittenAgain) {
  for (const char* name : {"rocm63.csv", "rocm60.csv", "rocm72_log.csv"}) {
    const std::string text = Recorded(name);
    ASSERT_GT(text.size(), 100u) << name;
    EXPECT_EQ(PrintTunableOp(Parsed(text)), text) << name;
    std::string windows;
    for (const char c : text) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
    EXPECT_EQ(PrintTunableOp(Parsed(windows)), text) << name;
    EXPECT_EQ(PrintTunableOp(Parsed("\n" + text.substr(0, text.size() - 1))), text) << name;
  }
}

TEST(TunableOp, WhatTheyMean) {
  const TunableFile file = Parsed(Recorded("rocm63.csv"));
  EXPECT_EQ(file.Arch(), "gfx942");
  EXPECT_EQ(file.Validator("ROCBLAS_VERSION"), "4.3.0-4d5e6f70-dirty");
  EXPECT_EQ(file.Validator("HIP_VERSION"), "");
  const TunableResult* one = file.FindLinear(DType::kBF16, 1, 12288, 4096);
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->parsed().library, TunableSolution::kHipblaslt);
  EXPECT_EQ(one->parsed().index, 1234);
  EXPECT_DOUBLE_EQ(*one->milliseconds, 0.0415);
  const TunableResult* eight = file.FindLinear(DType::kBF16, 8, 12288, 4096);
  ASSERT_NE(eight, nullptr);
  EXPECT_EQ(eight->parsed().library, TunableSolution::kRocblas);
  EXPECT_EQ(eight->parsed().index, -621294427);
  EXPECT_EQ(file.FindLinear(DType::kBF16, 8, 4096, 4096)->parsed().library, TunableSolution::kDefault);
  EXPECT_EQ(file.FindLinear(DType::kF16, 8, 4096, 4096), nullptr);
  EXPECT_EQ(file.FindLinear(DType::kF16, 128, 64, 32), nullptr);  // nt, not tn
  EXPECT_EQ(file.FindLinear(DType::kBF16, 2, 12288, 4096), nullptr);
  EXPECT_FALSE(file.results[4].gemm.has_value());  // batched
  const TunableFile old = Parsed(Recorded("rocm60.csv"));
  const TunableResult* dense = old.FindLinear(DType::kF32, 100, 200, 20);
  ASSERT_NE(dense, nullptr);
  EXPECT_EQ(dense->gemm->lda, 20);
  EXPECT_EQ(dense->gemm->ldc, 200);
  EXPECT_EQ(old.results[1].parsed().library, TunableSolution::kRocblas);
  EXPECT_EQ(old.results[1].parsed().index, 1219);
  EXPECT_FALSE(old.results[1].milliseconds.has_value());
  EXPECT_EQ(Parsed(Recorded("rocm72_log.csv")).results[0].parsed().index, 6849);
}

TEST(TunableOp, StridesOfOtherMatricesAreNotOurs) {
  const TunableFile file = Parsed("Validator,PT_VERSION,1\nGemmTunableOp_BFloat16_TN,tn_64_2_32_ld_40_32_64,Default\n");
  EXPECT_EQ(file.results[0].gemm->lda, 40);
  EXPECT_EQ(file.FindLinear(DType::kBF16, 2, 64, 32), nullptr);
}

TEST(TunableOp, WhatIsWrittenForOurProducts) {
  TunableResult ours = TunableLinear(DType::kBF16, 8, 12288, 4096);
  EXPECT_EQ(ours.op, "GemmTunableOp_BFloat16_TN");
  EXPECT_EQ(ours.params, "tn_12288_8_4096_ld_4096_4096_12288");
  const TunableFile file = {{{"PT_VERSION", "2.9.1"}}, {ours}};
  EXPECT_NE(Parsed(PrintTunableOp(file)).FindLinear(DType::kBF16, 8, 12288, 4096), nullptr);
}

TEST(TunableOp, Merging) {
  TunableFile kept = Parsed(Recorded("rocm63.csv"));
  TunableFile news = kept;
  std::reverse(news.validators.begin(), news.validators.end());
  news.results = {TunableLinear(DType::kBF16, 8, 12288, 4096), TunableLinear(DType::kF16, 1, 8, 8)};
  news.results[0].solution = "Gemm_Rocblas_9";
  const size_t before = kept.results.size();
  EXPECT_FALSE(MergeTunableOp(news, &kept));
  EXPECT_EQ(kept.results.size(), before + 1);
  EXPECT_EQ(kept.FindLinear(DType::kBF16, 8, 12288, 4096)->parsed().index, 9);
  news.validators[0].second += "x";  // another version of a library: its numbers mean other solutions
  EXPECT_TRUE(MergeTunableOp(news, &kept));
  EXPECT_EQ(kept.results.size(), 2u);
}

TEST(TunableOp, HostileFiles) {
  const std::string head = "Validator,PT_VERSION,2.9.1\n", op = "GemmTunableOp_BFloat16_TN,";
  const std::pair<std::string, const char*> bad[] = {
      {"", "no validator"},
      {op + "tn_1_1_1,Default\n", "no validator"},
      {head + "GemmTunableOp_BFloat16_TN\n", "line 2: fewer"},
      {head + op + "tn_1_1_1\n", "line 2: fewer"},
      {head + op + ",Default\n", "line 2: a field"},
      {head + op + "tn_1_1_1,\n", "line 2: a field"},
      {head + op + "tn_1_1_1,\x01\n", "line 2: a field"},
      {head + op + "tn_1_1_1,\xff\n", "line 2: a field"},
      {head + op + "tn_1_1_1," + std::string(300, 'x') + "\n", "line 2: a field"},
      {head + op + std::string("tn_1_1_1\0,Default\n", 18), "line 2: a field"},
      {head + op + "tn_1_1_1,Default,fast\n", "line 2: the fourth"},
      {head + op + "tn_1_1_1,Default,nan\n", "line 2: the fourth"},
      {head + op + "tn_1_1_1,Default,-1\n", "line 2: the fourth"},
      {head + op + "tn_1_1_1,Default,1e999\n", "line 2: the fourth"},
      {head + op + "tn_1_1_1,Default,\n", "line 2: the fourth"},
      {head + op + "tn_1_1_1,Default,1," + std::string(3000, 'x') + "\n", "line 2: the fifth"},
      {head + op + "tn_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_1_1_1_ld_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_1_1_1_ld_1_1_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_1_ld_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_1_1_1_ld_ld_1_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_0_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_-1_1_1,Default\n", "line 2: the parameters"},
      {head + op + "tn_1_1_99999999999999999999,Default\n", "line 2: the parameters"},
      {head + op + "tn_8_1_8_ld_7_8_8,Default\n", "line 2: the parameters"},  // rows that overlap
      {head + op + "nn_1_1_1,Default\n", "line 2: the parameters"},
      {head + op + "xx_1_1_1,Default\n", "line 2: the parameters"},
      {head + head, "line 2: a validator"},
      {head + "Validator,A,B,C\n", "line 2: a validator"},
      {std::string(kTunableBytes + 1, 'x'), "more than such a file"},
      {std::string(200001, '\n'), "more than 200000 lines"}};
  for (const auto& [text, why] : bad) {
    const auto file = ParseTunableOp(text);
    ASSERT_FALSE(file.ok()) << why;
    EXPECT_EQ(file.status().kind(), ErrorKind::kBadModel);
    EXPECT_NE(file.status().text().find(why), std::string::npos) << file.status().text() << " instead of " << why;
  }
}

TEST(TunableOp, ChangedFilesAreReadOrRefused) {
  const std::string text = Recorded("rocm63.csv");
  std::mt19937 random(3);
  int read = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string changed = text;
    for (unsigned edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % changed.size();
      if (random() % 3 == 0) {
        changed.erase(at, 1 + random() % 20);
      } else {
        changed[at] = random() % 2 == 0 ? static_cast<char>(random() % 256) : "0123456789_,\n"[random() % 13];
      }
    }
    const auto file = ParseTunableOp(changed);
    if (!file.ok()) continue;
    ++read;
    // What was read is written as something that reads the same.
    const std::string written = PrintTunableOp(*file);
    const auto again = ParseTunableOp(written);
    ASSERT_TRUE(again.ok()) << again.status().text() << "\n" << written;
    EXPECT_EQ(PrintTunableOp(*again), written);
  }
  EXPECT_GT(read, 1000);
}

}  // namespace
}  // namespace unimax
