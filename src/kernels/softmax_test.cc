// SPDX-License-Identifier: Apache-2.0
// The three softmaxes of decode attention on scores that are hard for them, against the reference, on the emulator.
// Where the guard of the unified one must speak, that is counted, too.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include "device/emulator.h"
#include "kernels/args.h"
#include "kernels/plan.h"
#include "kernels/reference.h"

namespace unimax {
namespace {

constexpr int kPageTokens = 32, kTokens = 300, kPages = (kTokens + kPageTokens - 1) / kPageTokens;

// Scores that grow as `score` says, with some noise; values of about the size `value`.
struct Hard {
  const char* name;
  std::function<double(int)> score;  // of a position
  double value = 1;
  float phi = 0;
  bool redone = false;  // whether the guard must speak (it may not otherwise)
  int window = 0;
};

float Bf16(double v) { return BF16ToFloat(FloatToBF16(static_cast<float>(v))); }

struct Inputs {
  std::vector<double> q, keys, values;          // [heads, dims], [tokens, kv_heads, dims]
  std::vector<uint16_t> q16, k_cache, v_cache;  // as stored; [page, kv_heads, page_tokens, dims]
};

// q is 1 and a little; a key is what gives its position the wanted score. What lies behind the last position is NaN.
Inputs Make(const Hard& hard, const AttentionShape& a, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> noise(0, 0.1);
  const auto put = [](std::vector<double>& exact, uint16_t& stored, double v) {
    stored = FloatToBF16(static_cast<float>(v));
    exact.push_back(Bf16(v));
  };
  Inputs in;
  in.q16.resize(static_cast<size_t>(a.heads * a.head_dim));
  for (uint16_t& stored : in.q16) put(in.q, stored, 1 + noise(random));
  const size_t cache = static_cast<size_t>(kPages * a.kv_heads * kPageTokens * a.head_dim);
  in.k_cache.assign(cache, 0x7fc0);
  in.v_cache.assign(cache, 0x7fc0);
  for (int t = 0; t < kTokens; ++t) {
    for (int kv = 0; kv < a.kv_heads; ++kv) {
      const int page = kPages - 1 - t / kPageTokens;  // in reverse order
      size_t at = static_cast<size_t>(((page * a.kv_heads + kv) * kPageTokens + t % kPageTokens) * a.head_dim);
      const double each = hard.score(t) / (static_cast<double>(a.scale) * a.head_dim);
      for (int d = 0; d < a.head_dim; ++d, ++at) {
        put(in.keys, in.k_cache[at], each + noise(random));
        put(in.values, in.v_cache[at], hard.value * (1 + noise(random)));
      }
    }
  }
  return in;
}

class Softmaxes : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto opened = OpenEmulator({.lanes = GetParam(), .seed = 5, .check_races = true});
    ASSERT_TRUE(opened.ok());
    device_ = std::move(opened).value();
  }
  template <class T>
  Buffer Upload(const std::vector<T>& values) {
    auto buffer = device_->Allocate(values.size() * sizeof(T), "softmax test");
    EXPECT_TRUE(buffer.ok() && device_->Upload(buffer->data(), values.data(), values.size() * sizeof(T)).ok());
    return std::move(buffer).value();
  }
  void Check(const Hard& hard, const AttentionShape& a, const char* variant);
  void CheckLargest(const Inputs& in, const AttentionArgs& args);

  std::unique_ptr<Device> device_;
};

// The kernel that notes largest scores, over what attention has read.
void Softmaxes::CheckLargest(const Inputs& in, const AttentionArgs& args) {
  const Buffer largest = Upload(std::vector<float>(static_cast<size_t>(args.heads), NAN));
  AttentionArgs own = args;
  own.y = largest.data();
  Launch launch = Launch::Of(device_->FindKernel("largest_scores_bf16").value(), own);
  launch.grid_y = args.heads;
  launch.shared_bytes = device_->limits().lanes * 4;
  ASSERT_TRUE(device_->Run(launch).ok() && device_->Synchronize().ok());
  std::vector<float> got(static_cast<size_t>(args.heads));
  ASSERT_TRUE(device_->Download(got.data(), largest.data(), got.size() * 4).ok());
  for (int h = 0; h < args.heads; ++h) {
    double most = -INFINITY;
    for (int t = args.window > 0 ? kTokens - args.window : 0; t < kTokens; ++t) {
      double score = 0;
      for (int d = 0; d < args.head_dim; ++d) {
        const int key = (t * args.kv_heads + h / (args.heads / args.kv_heads)) * args.head_dim + d;
        score += in.q[static_cast<size_t>(h * args.head_dim + d)] * in.keys[static_cast<size_t>(key)];
      }
      most = std::max(most, score * static_cast<double>(args.scale));
    }
    EXPECT_NEAR(got[static_cast<size_t>(h)], most, 1e-4 * (1 + std::abs(most))) << "head " << h;
  }
}

void Softmaxes::Check(const Hard& hard, const AttentionShape& a, const char* variant) {
  const Inputs in = Make(hard, a, 17);
  const Case c{.op = OpKind::kAttention,
               .act = DType::kBF16,
               .m = 1,
               .attention = a,
               .decode = true,
               .tokens = kTokens,
               .window = hard.window};
  const std::vector<ForcedRow> forced = {{OpKind::kAttention, variant}};
  const Row* row = PlanRow(c, device_->limits(), forced);
  ASSERT_NE(row, nullptr);
  const int splits = AttentionSplits(c, device_->limits());
  std::vector<int> pages;
  for (int p = 0; p < kPages; ++p) pages.push_back(kPages - 1 - p);
  const Buffer q = Upload(in.q16), k = Upload(in.k_cache), v = Upload(in.v_cache), page_table = Upload(pages);
  const Buffer positions = Upload(std::vector<int>{kTokens - 1}), sequences = Upload(std::vector<int>{0});
  const Buffer counters = Upload(std::vector<int>(static_cast<size_t>(a.heads), 0)), redone = Upload(std::vector{0});
  const Buffer phi = Upload(std::vector<float>(static_cast<size_t>(a.kv_heads), hard.phi));
  const auto count = static_cast<size_t>(a.heads * a.head_dim);
  const Buffer y = Upload(std::vector<uint16_t>(count, 0xffff));
  const Buffer partial = Upload(std::vector<float>(static_cast<size_t>(a.heads * splits * (a.head_dim + 2)), NAN));
  const auto ints = [](const Buffer& b) { return reinterpret_cast<int*>(b.data()); };
  const AttentionArgs args{q.data(),
                           k.data(),
                           v.data(),
                           y.data(),
                           ints(positions),
                           ints(sequences),
                           ints(page_table),
                           reinterpret_cast<float*>(partial.data()),
                           ints(counters),
                           1,
                           a.heads,
                           a.kv_heads,
                           a.head_dim,
                           a.heads * a.head_dim,
                           kPageTokens,
                           kPages,
                           splits,
                           a.scale,
                           0,
                           hard.window,
                           0,
                           reinterpret_cast<float*>(phi.data()),
                           ints(redone)};
  const auto launch = LaunchOf(*device_, *row, c, args);
  ASSERT_TRUE(launch.ok());
  ASSERT_TRUE(device_->Run(*launch).ok() && device_->Synchronize().ok());

  CheckLargest(in, args);

  std::vector<double> want(count);
  RefAttentionRow(in.q.data(), in.keys.data(), in.values.data(), want.data(), kTokens, a.heads, a.kv_heads, a.head_dim,
                  static_cast<double>(a.scale), 0.0, hard.window);
  std::vector<uint16_t> got(count);
  int again = 0;
  ASSERT_TRUE(device_->Download(got.data(), y.data(), count * 2).ok());
  ASSERT_TRUE(device_->Download(&again, redone.data(), sizeof(int)).ok());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < count; ++i) {
    difference += std::pow((BF16ToFloat(got[i]) - want[i]) / hard.value, 2);
    norm += std::pow(want[i] / hard.value, 2);
  }
  const double error = std::sqrt(difference / norm);
  std::printf("%-34s %-24s error %.1e of norm %.1f, %d blocks again\n", row->kernel, hard.name, error, std::sqrt(norm),
              again);
  EXPECT_LE(error, 4e-3) << row->kernel << " " << hard.name;  // not a number fails
  EXPECT_GT(norm, 1);
  EXPECT_EQ(again > 0, hard.redone && std::string(variant) == "unified") << row->kernel << " " << hard.name;
}

double Between(int t, double low, double high) {  // a scattered order
  return low + (high - low) * ((t * 7919) % kTokens) / kTokens;
}

const Hard kHard[] = {
    {"Llama-2's range", [](int t) { return Between(t, -16.8, 6.5); }},
    {"OPT's range", [](int t) { return Between(t, -496, 363); }, 1, 0, true},
    {"a sink", [](int t) { return t == 0 ? 30.0 : Between(t, -4, 4); }},
    {"a late maximum", [](int t) { return t == kTokens - 1 ? 85.0 : Between(t, -4, 4); }},
    {"a late maximum, too high", [](int t) { return t == kTokens - 1 ? 95.0 : Between(t, -4, 4); }, 1, 0, true},
    {"growing scores", [](int t) { return 80.0 * t / kTokens; }},
    {"falling scores", [](int t) { return -50.0 * t / kTokens; }},
    {"all far below", [](int t) { return Between(t, -200, -190); }, 1, 0, true},
    {"far below, as phi says", [](int t) { return Between(t, -200, -190); }, 1, -195, false},
    {"phi too high", [](int t) { return Between(t, -4, 4); }, 1, 70, true},
    {"phi too low", [](int t) { return Between(t, -4, 4); }, 1, -100, true},
    {"huge values", [](int t) { return Between(t, -4, 4); }, 1e30},
    {"values that overflow", [](int t) { return Between(t, 10, 20); }, 1e33, 0, true},
    {"tiny values", [](int t) { return Between(t, -4, 4); }, 1e-30},
    {"a window", [](int t) { return t < 200 ? 500.0 : Between(t, -4, 4); }, 1, 0, false, 100},
};

TEST_P(Softmaxes, AgreeOnHardScores) {
  const AttentionShape alone = {2, 2, 64, 0.125f}, grouped = {8, 2, 128, 0.0883883f};
  for (const Hard& hard : kHard) {
    for (const AttentionShape& shape : {alone, grouped}) {
      for (const char* variant : {"", "lazy", "unified"}) Check(hard, shape, variant);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(, Softmaxes, testing::Values(32, 64));

TEST(Force, NamesWhatThereIs) {
  const auto both = ParseForced("attention=LAZY,linear=tiled");
  ASSERT_TRUE(both.ok() && both->size() == 2);
  EXPECT_EQ((*both)[0].variant, "lazy");
  EXPECT_TRUE(ParseForced("")->empty());
  for (const char* bad : {"attention", "attention=quick", "attend=lazy", "=", ","}) {
    const auto refused = ParseForced(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_EQ(refused.status().kind(), ErrorKind::kUsage);
  }
  EXPECT_NE(ParseForced("attention=quick").status().text().find("unified"), std::string::npos);
  // A forced row that does not fit is not taken.
  const Case prompt{.op = OpKind::kAttention, .act = DType::kBF16, .m = 70, .attention = {8, 2, 128, 1}, .tokens = 70};
  EXPECT_STREQ(PlanRow(prompt, Limits(), *both)->kernel, "attention_rows_bf16_128");
}

}  // namespace
}  // namespace unimax
