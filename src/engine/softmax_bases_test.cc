// SPDX-License-Identifier: Apache-2.0
// Bases of the unified softmax from a text to the kernel, on the emulator: measured ones keep the guard silent, absurd
// ones make it speak in every block, and the ids are the same.
#include "engine/softmax_bases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>

#include "engine/measure.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

ModelOptions Options(const std::string& model) {
  ModelOptions options;
  options.model = DataPath("models/" + model);
  options.device = "emulator";
  options.dtype = "bf16";
  options.context = 64;
  options.plan = "none";
  return options;
}

Result<SoftmaxBases> MeasureOn(const std::string& model, int window) {
  ModelOptions options = Options(model);
  options.note_scores = true;
  options.max_tokens = 24;  // a window takes several steps
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> loaded, Model::Load(options));
  std::vector<int> ids;
  for (int i = 0; i < 100; ++i) ids.push_back((3 + 37 * i) % loaded->config().vocab);
  return MeasureSoftmaxBases(*loaded, ids, window, nullptr);
}

std::string Write(const SoftmaxBases& bases) {
  const std::string path = std::string(UM_BINARY_DIR) + "/softmax_bases_test.phi";
  std::ofstream(path) << PrintSoftmaxBases(bases);
  return path;
}

struct Ran {
  GuardCount guard;
  std::vector<int> ids;
};
Ran Decode(const std::string& model, const std::string& phi) {
  ModelOptions options = Options(model);
  options.force = "attention=unified";
  options.phi = phi;
  const auto loaded = Model::Load(options);
  EXPECT_TRUE(loaded.ok()) << loaded.status().text();
  if (!loaded.ok()) return {};
  const auto measured = Measure(**loaded, 1, 40, 6);
  EXPECT_TRUE(measured.ok()) << measured.status().text();
  const auto ids = (*loaded)->executor().Ids();
  return {measured->guard, std::vector<int>(ids->begin(), ids->end())};
}

TEST(SoftmaxBases, FromATextToTheKernel) {
  for (const std::string model : {"llama3_bf16", "opt"}) {
    const auto bases = MeasureOn(model, 48);
    ASSERT_TRUE(bases.ok()) << bases.status().text();
    EXPECT_EQ(bases->tokens, 96);
    ASSERT_EQ(bases->mean.size(), static_cast<size_t>(bases->layers * bases->kv_heads));
    bool differ = false;
    for (size_t i = 0; i < bases->mean.size(); ++i) {
      EXPECT_GE(bases->mean[i], bases->least[i]);
      EXPECT_LE(bases->mean[i], bases->largest[i]);
      EXPECT_LT(bases->least[i], bases->largest[i]);
      differ |= bases->mean[i] != bases->mean[0];
    }
    EXPECT_TRUE(differ);
    const Ran measured = Decode(model, Write(*bases));
    EXPECT_GT(measured.guard.blocks, 6 * bases->layers - 1);
    EXPECT_EQ(measured.guard.redone, 0);
    SoftmaxBases absurd = *bases;
    for (float& phi : absurd.mean) phi += 500;
    const Ran again = Decode(model, Write(absurd));
    EXPECT_EQ(again.guard.blocks, measured.guard.blocks);
    EXPECT_EQ(again.guard.redone, again.guard.blocks) << "in every block";
    EXPECT_EQ(again.ids, measured.ids);
    // One layer alone: its base reaches that layer's blocks and no others.
    absurd = *bases;
    for (int kv = 0; kv < absurd.kv_heads; ++kv) absurd.mean[absurd.mean.size() - 1 - static_cast<size_t>(kv)] += 500;
    const Ran last = Decode(model, Write(absurd));
    EXPECT_EQ(last.guard.redone * bases->layers, last.guard.blocks);
    std::printf("%s: %lld blocks, %lld again by measured bases, %lld by absurd ones, %lld by one absurd layer of %d\n",
                model.c_str(), static_cast<long long>(measured.guard.blocks),
                static_cast<long long>(measured.guard.redone), static_cast<long long>(again.guard.redone),
                static_cast<long long>(last.guard.redone), bases->layers);
  }
}

TEST(SoftmaxBases, OtherRowsCountNothing) {
  ModelOptions options = Options("llama3_bf16");
  const auto loaded = Model::Load(options);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(Measure(**loaded, 1, 20, 4)->guard.blocks, 0);
  EXPECT_TRUE((*loaded)->executor().LargestScores()->empty());
}

TEST(SoftmaxBases, FilesAreHeldToTheModel) {
  Program program;
  program.layers = 2;
  program.attention.kv_heads = 3;
  SoftmaxBases bases{2, 3, 7, {}, {}, {}};
  for (int i = 0; i < 6; ++i) {
    bases.mean.push_back(static_cast<float>(i) * 0.1f);
    bases.least.push_back(-1e-30f);
    bases.largest.push_back(12345.678f);
  }
  const std::string text = PrintSoftmaxBases(bases);
  const auto read = ParseSoftmaxBases(text, program);
  ASSERT_TRUE(read.ok()) << read.status().text();
  EXPECT_EQ(read->mean, bases.mean);
  EXPECT_EQ(read->least, bases.least);
  EXPECT_EQ(read->largest, bases.largest);
  for (size_t cut = 0; cut < text.rfind("1 2 "); ++cut)
    EXPECT_FALSE(ParseSoftmaxBases(text.substr(0, cut), program).ok());
  const auto refused = [&](std::string from, const std::string& to, const std::string& why) {
    std::string other = text;
    other.replace(other.find(from), from.size(), to);
    const auto parsed = ParseSoftmaxBases(other, program);
    ASSERT_FALSE(parsed.ok()) << to;
    EXPECT_NE(parsed.status().text().find(why), std::string::npos) << parsed.status().text();
  };
  refused("phi 1", "phi 2", "no file of eval");
  refused("layers 2", "layers 3", "3 layers with 3 KV heads");
  refused("kv_heads 3", "kv_heads 99999999999", "line 2");
  refused("\n0 1 ", "\n0 2 ", "line 4");
  refused("0.2", "nan", "line 5");
  refused("0.2", "1e99", "line 5");
  EXPECT_FALSE(ParseSoftmaxBases(text + "2 0 1 1 1\n", program).ok());
  EXPECT_EQ(ReadSoftmaxBases("/nonexistent/x", program).status().kind(), ErrorKind::kIo);
}

}  // namespace
}  // namespace unimax
