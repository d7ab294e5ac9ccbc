// SPDX-License-Identifier: Apache-2.0
// Row E09: variants of kernels that are fast and wrong, give NaN, hang or take the device down are offered to tune, on
// a device that plants them in front of the emulator. Each start is a process of its own, as it is for a user: a hang
// ends it, and the next start must leave the row out.
#include "cli/tune_notes.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/log.h"
#include "device/emulator.h"
#include "kernels/args.h"
#include "kernels/plan_table.h"
#include "sim/planted_device.h"

namespace unimax {
namespace {

using sim::Plant;

constexpr const char* kPlanted = sim::PlantedDevice::kKernel;
const bool kSlow = UM_SANITIZERS[0] != 0;
const double kRowSeconds = kSlow ? 1 : 0.5;

const Row& RowOf(std::string_view kernel) {
  for (const Row& row : GpuRows()) {
    if (kernel == row.kernel) return row;
  }
  UM_CHECK(false);
}

struct Variant {
  Plant plant;
  bool attention = false, first = false;  // which op; whether the planted row stands first in the table's order
};

Case CaseOf(const Variant& v) {
  if (!v.attention) return {.op = OpKind::kLinear, .act = DType::kBF16, .m = 5, .n = 48, .k = 64};
  return {.op = OpKind::kAttention,
          .act = DType::kBF16,
          .m = 2,
          .attention = {2, 1, 16, 0.25f},
          .decode = true,
          .tokens = 40};
}

std::string FolderOf(const std::string& name) {
  const std::string folder = std::string(UM_BINARY_DIR) + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

// One start: 0 and a file "chosen", or the status it ended with.
int Start(const Variant& v, const std::string& folder) {
  auto inner = OpenEmulator({.lanes = 32});
  if (!inner.ok()) return 1;
  const char* good = v.attention ? "attention_decode_bf16_4" : "linear_tiled_bf16";
  sim::PlantedDevice device(**inner, good, v.plant);
  TuneGuard guard(kRowSeconds);
  guard.Watch();
  TuneNotes notes(folder + "/plan.left_out", device.limits(), false);
  Row planted = RowOf(good);
  planted.kernel = kPlanted;
  const Row* rows[] = {v.first ? &planted : &RowOf(good), v.first ? &RowOf(good) : &planted};
  const TuneOptions options{.repeats = 2, .cold = false};
  const auto tuned = MeasureNoted(device, CaseOf(v), rows, options, guard, notes);
  if (!tuned.ok()) return static_cast<int>(tuned.status().kind());
  const TunedRow& bad = (*tuned)[v.first ? 0 : 1];
  const auto entry = ChooseRow(CaseOf(v), *tuned);
  if (!entry.ok()) return 2;
  std::ofstream(folder + "/chosen") << entry->kernel << " " << (entry->second.empty() ? "-" : entry->second) << " "
                                    << bad.dropped;
  return 0;
}

// The status of a start in a process of its own; -1 where it did not end by itself.
int StartApart(const Variant& v, const std::string& folder) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    SetLogLevel(LogLevel::kError);
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(99);
    _exit(Start(v, folder));
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Reliability, E09OnlyWhatWasRightIsSelected) {
  constexpr int kKinds = 4, kEach = 10;
  const std::string folder = FolderOf("tune_notes_planted");
  int wrong = 0, undropped = 0, unfinished = 0, starts = 0;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (int n = 0; n < kEach; ++n) {
      const Variant v = {{.kind = static_cast<Plant::Kind>(kind), .number = n / 2}, n / 2 % 2 == 1, n % 2 == 1};
      const std::string own = fmt::format("{}/{}_{}", folder, kind, n);
      std::filesystem::create_directories(own);
      int status = -1;
      int tried = 0;
      while (status != 0 && tried++ < 3) status = StartApart(v, own);
      starts += tried;
      std::string chosen, second, why;
      std::ifstream result(own + "/chosen");
      result >> chosen >> second;
      std::getline(result, why);
      const std::string good = v.attention ? "attention_decode_bf16_4" : "linear_tiled_bf16";
      wrong += chosen == kPlanted || second == kPlanted;
      undropped += why.size() < 2;
      unfinished += chosen != good || status != 0;
      // What takes the process away does so once; what does not is found at the first start.
      const bool ends = v.plant.kind == Plant::kHangs || (v.plant.kind == Plant::kCrashes && v.plant.TakesTheDevice());
      EXPECT_EQ(tried, ends ? 2 : 1) << "kind " << kind << ", variant " << n << ":" << why;
    }
  }
  const bool pass = wrong == 0 && undropped == 0 && unfinished == 0;
  std::printf("E09 wrong_selected=%d of %d dropped_without_reason=%d unfinished=%d starts=%d %s\n", wrong,
              kKinds * kEach, undropped, unfinished, starts, pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

// The planted row wins where nothing is planted: what keeps it out above is what is wrong with it.
TEST(Planted, IsFastAndWouldBeChosen) {
  const std::string folder = FolderOf("tune_notes_right");
  for (const bool attention : {false, true}) {
    const Variant v = {{.kind = Plant::kRight}, attention, false};
    EXPECT_EQ(StartApart(v, folder), 0);
    std::string chosen;
    std::ifstream(folder + "/chosen") >> chosen;
    EXPECT_EQ(chosen, kPlanted);
  }
}

TEST(TuneNotes, HoldForTheirDeviceProgramAndCase) {
  const std::string path = FolderOf("tune_notes_file") + "/x.plan.left_out";
  Limits limits;
  limits.name = "card";
  limits.target = "sm_90a";
  const Case c{.op = OpKind::kLinear, .act = DType::kBF16, .m = 5, .n = 48, .k = 64};
  Case other = c;
  other.m = 6;
  const Row& row = RowOf("linear_tiled_bf16");
  {
    TuneNotes notes(path, limits, false);
    EXPECT_EQ(notes.WhyNot(c, row), "");
    ASSERT_TRUE(notes.Add(c, row, "it\nhung | twice").ok());
    EXPECT_NE(notes.WhyNot(c, row), "");
  }
  {
    TuneNotes notes(path, limits, false);
    EXPECT_NE(notes.WhyNot(c, row).find("it hung | twice"), std::string::npos) << notes.WhyNot(c, row);
    EXPECT_EQ(notes.WhyNot(other, row), "");
    EXPECT_EQ(notes.WhyNot(c, RowOf("linear_flat_bf16_8")), "");
    ASSERT_TRUE(notes.Add(other, row, "faulted").ok());
  }
  EXPECT_NE(TuneNotes(path, limits, false).WhyNot(c, row), "");
  EXPECT_EQ(TuneNotes(path, limits, true).WhyNot(c, row), "");
  Limits card = limits;
  card.name = "another card";
  EXPECT_EQ(TuneNotes(path, card, false).WhyNot(c, row), "");
  // A damaged file is read as far as it makes sense.
  std::string text;
  {
    std::ifstream file(path);
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  for (size_t cut = 0; cut <= text.size(); cut += 7) {
    std::ofstream(path) << text.substr(0, cut);
    (void)TuneNotes(path, limits, false).WhyNot(c, row);
  }
  EXPECT_EQ(TuneNotes("/nonexistent/x", limits, false).Add(c, row, "hung").kind(), ErrorKind::kIo);
}

}  // namespace
}  // namespace unimax
