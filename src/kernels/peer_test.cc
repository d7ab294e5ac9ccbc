// SPDX-License-Identifier: Apache-2.0
// The vendors' products against a stand-in of their libraries (tests/stand_in/blas.cc), on the emulator.
#include "kernels/peer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "device/emulator.h"

namespace unimax {
namespace {

class Peer : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto device = OpenEmulator({});
    ASSERT_TRUE(device.ok());
    device_ = std::move(device).value();
    Say("");
  }
  void TearDown() override { Say(""); }
  static void Say(const char* word) { ASSERT_EQ(setenv("UNIMAX_STAND_IN_BLAS", word, 1), 0); }
  Result<std::unique_ptr<PeerGemm>> Open(const TunableFile* known = nullptr) {
    return PeerGemm::Open(GetParam(), *device_, known, std::string(UM_BINARY_DIR) + "/libblas_stand_in.so");
  }
  // The distance of way `way` from the reference of plain weights.
  double Error(PeerGemm& peer, int way, TuneData& data) {
    EXPECT_TRUE(data.Reset().ok());
    const Status status = peer.Enqueue(way, data.Operands(0));
    if (!status.ok()) return INFINITY;
    const auto y = data.Output();
    const auto sample = data.PlainReference();
    double difference = 0, norm = 0;
    for (size_t i = 0; i < sample->at.size(); ++i) {
      difference += std::pow((*y)[sample->at[i]] - sample->values[i], 2);
      norm += std::pow(sample->values[i], 2);
    }
    EXPECT_GT(norm, 0);
    return std::sqrt(difference / norm);
  }
  std::unique_ptr<Device> device_;
};

TEST_P(Peer, MultipliesAsTheReferenceDoes) {
  auto peer = Open();
  ASSERT_TRUE(peer.ok()) << peer.status().text();
  for (const DType act : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const auto& [m, n, k] : {std::tuple(1, 64, 32), std::tuple(8, 48, 72), std::tuple(5, 33, 40)}) {
      const Case c{.op = OpKind::kLinear, .act = act, .m = m, .n = n, .k = k, .bare = true};
      auto data = TuneData::Make(*device_, c, 1, 5);
      ASSERT_TRUE(data.ok()) << data.status().text();
      const auto ways = (*peer)->Prepare(c, 8);
      ASSERT_TRUE(ways.ok()) << ways.status().text();
      for (int way = 0; way < *ways; ++way) EXPECT_LT(Error(**peer, way, **data), 3e-3) << (*peer)->Way(way);
    }
  }
}

TEST_P(Peer, ItsFailuresAreTold) {
  const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 2, .n = 64, .k = 32, .bare = true};
  auto data = TuneData::Make(*device_, c, 1, 5);
  ASSERT_TRUE(data.ok());
  {
    auto peer = Open();
    ASSERT_TRUE(peer.ok() && (*peer)->Prepare(c, 8).ok());
    Say("wrong");
    EXPECT_GT(Error(**peer, 0, **data), 3e-2);
    Say("fails");
    EXPECT_NE((*peer)->Enqueue(0, (*data)->Operands(0)).text().find("cannot multiply: its status is 7"),
              std::string::npos);
    Say("nothing");
    const auto ways = (*peer)->Prepare(c, 8);
    if (GetParam() != std::string("rocblas")) {  // has no list of choices
      EXPECT_NE(ways.status().text().find("has no way to do m=2 n=64 k=32"), std::string::npos);
    }
  }
  Say("refuses");
  EXPECT_NE(Open().status().text().find("cannot make a handle: its status is 1"), std::string::npos);
}

TEST_P(Peer, AMissingLibraryIsOneLine) {
  const auto peer = PeerGemm::Open(GetParam(), *device_, nullptr, "/nowhere/libblas.so");
  ASSERT_FALSE(peer.ok());
  EXPECT_EQ(peer.status().kind(), ErrorKind::kNoDevice);
  EXPECT_NE(peer.status().text().find("to compare with: /nowhere/libblas.so"), std::string::npos)
      << peer.status().text();
  // One that is there but has none of the functions.
  const auto other = PeerGemm::Open(GetParam(), *device_, nullptr, "libm.so.6");
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.status().text().find("lacks"), std::string::npos) << other.status().text();
}

INSTANTIATE_TEST_SUITE_P(Libraries, Peer, testing::Values("cublas", "hipblaslt", "rocblas"));

using Rocblas = Peer;

TEST_P(Rocblas, TriesTheSolutionThatIsKnown) {
  TunableFile known;
  known.results.push_back(TunableLinear(DType::kBF16, 2, 64, 32));
  known.results[0].solution = "Gemm_Rocblas_-7";
  auto peer = Open(&known);
  ASSERT_TRUE(peer.ok());
  Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 2, .n = 64, .k = 32, .bare = true};
  auto data = TuneData::Make(*device_, c, 1, 5);
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(*(*peer)->Prepare(c, 8), 2);
  EXPECT_EQ((*peer)->Way(1), "solution -7");
  EXPECT_LT(Error(**peer, 1, **data), 3e-3);
  c.m = 3;
  EXPECT_EQ(*(*peer)->Prepare(c, 8), 1);
  c.m = 2;
  known.results[0].solution = "Gemm_Hipblaslt_TN_5";
  EXPECT_EQ(*(*peer)->Prepare(c, 8), 1);
}

INSTANTIATE_TEST_SUITE_P(Libraries, Rocblas, testing::Values("rocblas"));

TEST(PeerNames, AnotherOneIsRefused) {
  auto device = OpenEmulator({});
  ASSERT_TRUE(device.ok());
  const auto peer = PeerGemm::Open("mkl", **device, nullptr);
  EXPECT_EQ(peer.status().kind(), ErrorKind::kUsage);
}

}  // namespace
}  // namespace unimax
