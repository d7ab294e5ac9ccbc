// SPDX-License-Identifier: Apache-2.0
// For tests: the stand-in driver, fresh for each test; at its end nothing was misused or left behind.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "stand_in/stand_in.h"

namespace unimax {

inline constexpr const char* kStandIn = UM_BINARY_DIR "/libcuda_stand_in.so";

// Calls whose failure is not told: they happen while something is given back.
inline const std::set<std::string>& SilentCalls() {
  static const std::set<std::string> calls = {"cuCtxSetCurrent",
                                              "hipSetDevice",
                                              "cuStreamSynchronize",
                                              "cuEventSynchronize",
                                              "cuEventDestroy_v2",
                                              "cuMemFree_v2",
                                              "cuModuleUnload",
                                              "cuGraphDestroy",
                                              "cuStreamDestroy_v2",
                                              "cuGraphExecDestroy",
                                              "cuDevicePrimaryCtxRelease_v2"};
  return calls;
}

class StandInTest : public ::testing::Test {
 protected:
  void SetUp() override {
    library_ = dlopen(kStandIn, RTLD_NOW);
    ASSERT_NE(library_, nullptr) << dlerror();
    const auto get = reinterpret_cast<StandInControl* (*)()>(dlsym(library_, "StandInGet"));
    reset_ = reinterpret_cast<bool (*)()>(dlsym(library_, "StandInReset"));
    ASSERT_TRUE(get != nullptr && reset_ != nullptr);
    reset_();
    control_ = get();
  }
  void TearDown() override {
    EXPECT_EQ(control_->wrong, std::vector<std::string>());
    EXPECT_TRUE(reset_()) << "objects of the driver are still alive";
    dlclose(library_);
  }

  // Runs with call number `at` failing with `code` (`on`: and all behind it). The error must be told in one line, and
  // nothing stay behind. Returns the call that failed, "" where there were fewer.
  std::string RunFailing(int at, int code, bool on, const std::function<Status()>& run, bool* told) {
    control_->fail_at = at;
    control_->fail_code = code;
    control_->fail_on = on;
    const Status status = run();
    const std::string failed = control_->failed;
    *told = !status.ok();
    EXPECT_EQ(control_->wrong, std::vector<std::string>()) << at << " " << failed;
    EXPECT_TRUE(reset_()) << at << " " << failed << ": something was not given back";
    if (failed.empty()) {
      EXPECT_TRUE(status.ok()) << status.text();
    } else if (status.ok()) {
      EXPECT_TRUE(SilentCalls().contains(failed)) << failed << " failed and nobody said so";
    } else {
      EXPECT_EQ(status.exit_status(), 69) << status.text();
      EXPECT_NE(status.text().find("STAND_IN_"), std::string_view::npos) << status.text();
      EXPECT_EQ(status.text().find('\n'), std::string_view::npos) << status.text();
    }
    return failed;
  }

  void* library_ = nullptr;
  bool (*reset_)() = nullptr;
  StandInControl* control_ = nullptr;
};

}  // namespace unimax
