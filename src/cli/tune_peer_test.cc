// SPDX-License-Identifier: Apache-2.0
// The comparison with a vendor's products on the emulator, with a stand-in of the library (tests/stand_in/blas.cc). Its
// products run where they are recorded, so no time here means anything: what is tested is what is compared and printed.
#include "cli/tune_peer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "device/emulator.h"
#include "device/open.h"

namespace unimax {
namespace {

class TunePeer : public testing::Test {
 protected:
  void SetUp() override {
    Say("");
    auto opened = OpenEmulator({});
    ASSERT_TRUE(opened.ok()) << opened.status().text();
    device_ = std::move(opened).value();
  }
  void TearDown() override { Say(""); }
  static void Say(const char* word) { ASSERT_EQ(setenv("UNIMAX_STAND_IN_BLAS", word, 1), 0); }
  Status Compare(const char* peer, bool json) {
    PeerCommand options;
    options.peer = peer;
    options.library = std::string(UM_BINARY_DIR) + "/libblas_stand_in.so";
    options.repeats = 1;
    options.json = json;
    const std::vector<Case> cases = {
        {.op = OpKind::kLinear, .act = DType::kBF16, .m = 1, .n = 96, .k = 64, .bare = true},
        {.op = OpKind::kLinear, .act = DType::kBF16, .m = 8, .n = 96, .k = 64, .bare = true},
        {.op = OpKind::kLinear, .act = DType::kBF16, .m = 8, .n = 33, .k = 40, .bare = true}};
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Status status;
    {
      TuneGuard guard;
      status = ComparePeer(options, *device_, cases, guard);
    }
    testing::internal::GetCapturedStderr();
    out_ = testing::internal::GetCapturedStdout();
    return status;
  }
  std::unique_ptr<Device> device_;
  std::string out_;
};

TEST_F(TunePeer, ALineACaseAndTheMeans) {
  for (const char* peer : {"cublas", "hipblaslt", "rocblas"}) {
    const Status status = Compare(peer, true);
    ASSERT_TRUE(status.ok()) << status.text();
    std::istringstream lines(out_);
    int cases = 0, means = 0;
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json found = nlohmann::json::parse(line);
      if (found["bench"] == "linear") {
        ++cases;
        EXPECT_GT(found["us"].get<double>(), 0);
        EXPECT_GT(found["overlapped_us"].get<double>(), 0);
        EXPECT_TRUE(found["row"].get<std::string>().starts_with("linear_")) << line;
      } else {
        EXPECT_EQ(found["bench"], "linear_mean");
        EXPECT_EQ(found["cases"], found["of"] == "all" ? 3 : found["of"] == "m=1" ? 1 : 2) << line;
        ++means;
      }
    }
    EXPECT_EQ(cases, 3) << out_;
    EXPECT_EQ(means, 3) << out_;
  }
  ASSERT_TRUE(Compare("cublas", false).ok());
  EXPECT_NE(out_.find("geometric mean, all      3 cases: "), std::string::npos) << out_;
  EXPECT_NE(out_.find("cuBLASLt 13.1.2"), std::string::npos) << out_;
}

TEST_F(TunePeer, AWrongProductIsNoPeer) {
  Say("wrong");
  const Status status = Compare("cublas", true);
  EXPECT_EQ(status.kind(), ErrorKind::kInternal);
  EXPECT_NE(status.text().find("differs from the reference"), std::string::npos) << status.text();
  EXPECT_EQ(out_, "");
  Say("nothing");
  EXPECT_NE(Compare("cublas", true).text().find("has no way to do"), std::string::npos);
}

TEST(Peers, EachForItsDevices) {
  Limits limits;
  limits.target = "sm_90a";
  EXPECT_TRUE(CheckPeer("cublas", limits).ok());
  EXPECT_EQ(CheckPeer("rocblas", limits).kind(), ErrorKind::kUsage);
  limits.target = "gfx942";
  EXPECT_TRUE(CheckPeer("rocblas", limits).ok());
  EXPECT_TRUE(CheckPeer("hipblaslt", limits).ok());
  EXPECT_EQ(CheckPeer("cublas", limits).kind(), ErrorKind::kUsage);
  limits.target = "emulator32";
  EXPECT_FALSE(CheckPeer("cublas", limits).ok());
  EXPECT_FALSE(CheckPeer("rocblas", limits).ok());
}

TEST(Anchors, ThirteenProductsAtEachBatch) {
  const std::vector<int> batches = {1, 8, 64};
  const std::vector<Case> cases = AnchorCases(DType::kBF16, batches);
  ASSERT_EQ(cases.size(), 39u);
  EXPECT_EQ(cases[1].m, 8);
  EXPECT_EQ(cases[1].n, 12288);
  EXPECT_EQ(cases[1].k, 4096);
}

}  // namespace
}  // namespace unimax
