// SPDX-License-Identifier: Apache-2.0
// The GPU device over a stand-in driver (tests/stand_in), and the choice of a device.
#include <gtest/gtest.h>
#include <stand_in/fixture.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "device/cuda_driver.h"
#include "device/driver_library.h"
#include "device/hip_driver.h"
#include "device/open.h"

namespace unimax {

// This test brings its own code objects; this one satisfies the linker for those of the product.
std::span<const EmbeddedCode> EmbeddedCodeObjects() { return {}; }

namespace {

struct AddArgs {
  uint16_t a, b;
};

EmbeddedCode Code(const char* target, const char* name, std::string_view text) {
  const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  return {target, name, begin, begin + text.size()};
}

const EmbeddedCode kObjects[] = {
    Code("sm_80", "plain", "stand-in code for sm_80\nAdd 4 0\n"),
    Code("sm_90a", "plain", "stand-in code for sm_90a\nAdd 4 0\nMul 4 1024\n"),
    Code("sm_90a", "tuned", "stand-in code for sm_90a\nStream 0 0\nBad 0 0\n"),
    Code("gfx90a", "plain", "stand-in code for gfx90a\nAdd 4 0\n"),
    Code("gfx940", "plain", "stand-in code for gfx940\nAdd 4 0\n"),
    Code("gfx942", "plain", "stand-in code for gfx942\nAdd 4 0\nMul 4 1024\nStream 0 0\nBad 0 0\n"),
};

enum class Vendor { kCuda, kHip };

class DeviceTest : public StandInTest {
 protected:
  void Choose(Vendor vendor) {
    control_->runs = vendor == Vendor::kCuda ? "sm_90a" : "gfx942";
    control_->minor = vendor == Vendor::kCuda ? 0 : 4;
  }
  Result<std::unique_ptr<Device>> OpenAs(Vendor vendor, int index = 0) {
    const std::string library = kStandIn;
    return vendor == Vendor::kCuda ? OpenCudaFrom(library, index, kObjects)
                                   : OpenHipFrom({&library, 1}, index, kObjects);
  }
  std::unique_ptr<Device> MustOpen() {
    auto device = OpenAs(Vendor::kCuda);
    EXPECT_TRUE(device.ok()) << device.status().text();
    return device.ok() ? std::move(device).value() : nullptr;
  }
  std::string OpenError(Vendor vendor = Vendor::kCuda, int index = 0) {
    const auto device = OpenAs(vendor, index);
    EXPECT_FALSE(device.ok());
    EXPECT_EQ(device.status().kind(), ErrorKind::kNoDevice);
    return std::string(device.status().text());
  }
};

std::vector<uint8_t> Pattern(size_t bytes, unsigned seed) {
  std::vector<uint8_t> data(bytes);
  uint32_t x = seed * 2654435761u + 1;
  for (uint8_t& byte : data) {
    x = x * 1664525u + 1013904223u;
    byte = static_cast<uint8_t>(x >> 24);
  }
  return data;
}

TEST(PickCudaTargetTest, Table) {
  struct Case {
    int major, minor;
    std::vector<std::string_view> targets;
    std::string_view want;  // "" for an error
  };
  const Case cases[] = {
      {9, 0, {"sm_80", "sm_90a"}, "sm_90a"},
      {9, 0, {"sm_90", "sm_90a"}, "sm_90a"},
      {9, 0, {"sm_90", "sm_80"}, "sm_90"},
      {8, 0, {"sm_80", "sm_90a"}, "sm_80"},
      {8, 6, {"sm_80", "sm_90a"}, "sm_80"},
      {8, 6, {"sm_80", "sm_86", "sm_89"}, "sm_86"},
      {8, 9, {"sm_90a", "sm_80"}, "sm_80"},
      {8, 0, {"sm_86"}, ""},
      {10, 0, {"sm_80", "sm_90a"}, ""},
      {10, 0, {"sm_80", "sm_90a", "compute_80"}, "compute_80"},
      {10, 3, {"sm_100", "compute_80"}, "sm_100"},
      {12, 0, {"sm_100", "sm_120", "compute_80"}, "sm_120"},
      {12, 1, {"compute_80", "compute_90"}, "compute_90"},
      {7, 5, {"sm_80", "compute_80"}, ""},
      {9, 0, {"gfx942", "sm_", "sm_x", "sm_9", "sm_80z"}, ""},
      {9, 0, {}, ""},
  };
  for (const Case& c : cases) {
    const auto picked = PickCudaTarget(c.major, c.minor, c.targets);
    EXPECT_EQ(picked.ok() ? *picked : std::string_view(), c.want) << c.major << "." << c.minor;
  }
  const std::vector<std::string_view> targets = {"sm_80", "sm_80", "gfx942", "sm_90a"};
  EXPECT_EQ(PickCudaTarget(7, 5, targets).status().text(),
            "no code object for compute capability 7.5; this binary carries sm_80, sm_90a");
  EXPECT_EQ(PickCudaTarget(7, 5, {}).status().text(),
            "no code object for compute capability 7.5; this binary carries none for NVIDIA GPUs");
}

TEST(CudaDriverReleaseTest, BothFormsOfTheText) {
  EXPECT_EQ(CudaDriverRelease("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11 UTC 2025\n"),
            "580.95.05");
  EXPECT_EQ(CudaDriverRelease("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159  Release Build"),
            "580.159");
  EXPECT_EQ(CudaDriverRelease("GCC version: gcc 12"), "");
  EXPECT_EQ(CudaDriverRelease(""), "");
}

TEST_F(DeviceTest, SaysWhyThereIsNone) {
  EXPECT_EQ(OpenCudaFrom("libno_such_driver.so.1", 0, kObjects).status().text(),
            "no NVIDIA driver (libno_such_driver.so.1 not found)");
  EXPECT_EQ(OpenCudaFrom("libm.so.6", 0, kObjects).status().text(),
            "the NVIDIA driver's library lacks cuInit; unimax needs a driver of version 580 or newer (CUDA 13.0)");
  control_->driver_version = 12040;
  EXPECT_EQ(OpenError(),
            "the NVIDIA driver supports CUDA 12.4; unimax needs a driver of version 580 or newer (CUDA 13.0)");
  control_->driver_version = 13000;
  EXPECT_EQ(OpenError(Vendor::kCuda, 1), "there is no device cuda:1; the last one is cuda:0");
  control_->major = 7;
  EXPECT_EQ(OpenError(), "Stand-in GPU: no code object for compute capability 7.0; this binary carries sm_80, sm_90a");
  control_->devices = 0;
  EXPECT_EQ(OpenError(), "the NVIDIA driver shows no GPU to this process");
}

TEST_F(DeviceTest, NoAmdGpuIsOneAnswer) {
  const std::string none[] = {"libno_such_driver.so.7", "libno_such_driver.so.6"};
  EXPECT_EQ(OpenHipFrom(none, 0, kObjects).status().text(), "no AMD driver (libno_such_driver.so.7 not found)");
  for (const int code : {100, 101}) {
    for (const int call : {1, 2}) {
      Choose(Vendor::kHip);
      control_->fail_at = control_->calls + call;
      control_->fail_code = code;
      EXPECT_TRUE(OpenError(Vendor::kHip).starts_with("no AMD GPU; "));
    }
  }
  reset_();
  control_->major = 10;
  EXPECT_EQ(OpenError(Vendor::kHip), "Stand-in GPU: no code object for a GPU of version 10.0");
}

TEST_F(DeviceTest, Limits) {
  {
    const auto device = MustOpen();
    const Limits& limits = device->limits();
    EXPECT_EQ(limits.name, "Stand-in GPU");
    EXPECT_EQ(limits.target, "sm_90a");
    EXPECT_NE(limits.driver, "");
    EXPECT_EQ(limits.multiprocessors, 132);
    EXPECT_EQ(limits.lanes, 32);
    EXPECT_EQ(limits.shared_bytes_per_block, 232448);
    EXPECT_EQ(limits.memory_bytes, 64'000'000);
    EXPECT_EQ(limits.free_bytes, 64'000'000);
  }
  Choose(Vendor::kHip);
  const auto amd = OpenAs(Vendor::kHip);
  ASSERT_TRUE(amd.ok()) << amd.status().text();
  EXPECT_EQ((*amd)->limits().target, "gfx942");  // the library told no name; gfx940 was refused by the driver
  EXPECT_EQ((*amd)->limits().lanes, 64);
  EXPECT_EQ((*amd)->limits().driver, "HIP 0.0.13000");
}

// Two targets of one version: the device's own name decides, and no other object is tried.
TEST_F(DeviceTest, AmdTargetByItsName) {
  struct Case {
    const char* architecture;
    int at;
    const char* target;  // "" for an error
  };
  const Case cases[] = {{"gfx942:sramecc+:xnack-", 1160, "gfx942"},
                        {"gfx940", 396, "gfx940"},
                        {"gfx90a:xnack-", 1160, "gfx90a"},
                        {"gfx941:xnack-", 1160, ""}};
  for (const Case& c : cases) {
    Choose(Vendor::kHip);
    control_->architecture = c.architecture;
    control_->architecture_at = c.at;
    control_->runs = c.target;
    if (*c.target == '\0') {
      EXPECT_EQ(OpenError(Vendor::kHip), "Stand-in GPU: no code object for gfx941:xnack-");
      continue;
    }
    const auto device = OpenAs(Vendor::kHip);
    ASSERT_TRUE(device.ok()) << device.status().text();
    EXPECT_EQ((*device)->limits().target, c.target);
  }
}

TEST_F(DeviceTest, OutOfMemorySaysWhatIsFree) {
  const auto device = MustOpen();
  const auto some = device->Allocate(14'000'000, "pages");
  ASSERT_TRUE(some.ok());
  const auto more = device->Allocate(90'000'000, "weights");
  EXPECT_EQ(more.status().text(),
            "cannot allocate 0.09 GB for weights on Stand-in GPU: STAND_IN_OUT_OF_MEMORY (out of memory); 0.05 GB of "
            "0.06 GB are free");
  EXPECT_EQ(more.status().kind(), ErrorKind::kNoDevice);
  const auto none = device->Allocate(0, "nothing");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->data(), nullptr);
}

TEST_F(DeviceTest, TransfersKeepEveryByte) {
  const auto device = MustOpen();
  constexpr size_t kMiB = 1 << 20;
  for (const size_t bytes :
       {size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, 8 * kMiB, 8 * kMiB + 1, 21 * kMiB + 7}) {
    auto a = device->Allocate(bytes, "a");
    auto b = device->Allocate(bytes, "b");
    ASSERT_TRUE(a.ok() && b.ok());
    std::vector<uint8_t> got(bytes);
    ASSERT_TRUE(device->Download(got.data(), a->data(), bytes).ok());
    EXPECT_EQ(got, std::vector<uint8_t>(bytes, 0xA5));
    const std::vector<uint8_t> want = Pattern(bytes, 1);
    std::vector<uint8_t> source = want;
    ASSERT_TRUE(device->Upload(a->data(), source.data(), bytes).ok());
    std::fill(source.begin(), source.end(), uint8_t{0});  // the caller may change it at once
    ASSERT_TRUE(device->Copy(b->data(), a->data(), bytes).ok());
    ASSERT_TRUE(device->Fill(a->data(), 7, bytes).ok());
    ASSERT_TRUE(device->Download(got.data(), b->data(), bytes).ok());
    EXPECT_EQ(got, want);
    ASSERT_TRUE(device->Download(got.data(), a->data(), bytes).ok());
    EXPECT_EQ(got, std::vector<uint8_t>(bytes, 7));
  }
}

// Pieces come in order, none of them is asked for while the device may still read where it lies, and the writer runs
// ahead of the device.
TEST_F(DeviceTest, PiecesAreWrittenWhileEarlierOnesAreOnTheirWay) {
  const auto device = MustOpen();
  constexpr size_t kBytes = 50'000'001;
  auto buffer = device->Allocate(kBytes, "weights");
  ASSERT_TRUE(buffer.ok() && device->Synchronize().ok());
  const std::vector<uint8_t> want = Pattern(kBytes, 4);
  size_t at = 0;
  int pieces = 0, ahead = 0;
  const size_t before = control_->ran.size();
  ASSERT_TRUE(device->Fill(buffer->data(), 1, 64).ok());  // runs when something waits for what comes behind it
  const auto write = [&](std::byte* to, size_t first, size_t count) {
    EXPECT_EQ(first, at);
    at += count;
    ++pieces;
    ahead += control_->ran.size() == before ? 1 : 0;
    std::memset(to, 0, count);  // what lay here has left
    std::memcpy(to, want.data() + first, count);
  };
  ASSERT_TRUE(device->UploadPieces(buffer->data(), kBytes, write).ok());
  EXPECT_EQ(at, kBytes);
  EXPECT_GT(pieces, 4);
  EXPECT_EQ(ahead, 4) << "as many as there are slots";
  std::vector<uint8_t> got(kBytes);
  ASSERT_TRUE(device->Download(got.data(), buffer->data(), kBytes).ok());
  EXPECT_EQ(got, want);
  EXPECT_TRUE(device->UploadPieces(nullptr, 0, write).ok());
  EXPECT_EQ(at, kBytes);
}

TEST_F(DeviceTest, ManySmallUploadsDoNotOverwriteEachOther) {
  const auto device = MustOpen();
  constexpr size_t kBytes = 1000, kCount = 150;  // several times around the ring
  auto buffer = device->Allocate(kBytes * kCount, "inputs");
  ASSERT_TRUE(buffer.ok());
  const std::vector<uint8_t> want = Pattern(kBytes * kCount, 2);
  const size_t before = control_->ran.size();
  std::vector<uint8_t> one(kBytes);
  for (size_t i = 0; i < kCount; ++i) {
    std::copy_n(want.data() + i * kBytes, kBytes, one.data());
    ASSERT_TRUE(device->Upload(buffer->data() + i * kBytes, one.data(), kBytes).ok());
    if (i == 30) {
      EXPECT_EQ(control_->ran.size(), before) << "an upload waited for the stream";
    }
  }
  std::vector<uint8_t> got(want.size());
  ASSERT_TRUE(device->Download(got.data(), buffer->data(), got.size()).ok());
  EXPECT_EQ(got, want);
  EXPECT_TRUE(device->Upload(nullptr, nullptr, 0).ok());
  EXPECT_TRUE(device->Download(nullptr, nullptr, 0).ok());
  EXPECT_TRUE(device->Fill(nullptr, 0, 0).ok());
  EXPECT_TRUE(device->Copy(nullptr, nullptr, 0).ok());
}

TEST_F(DeviceTest, LaunchesInOrderWithTheirArguments) {
  const auto device = MustOpen();
  const auto add = device->FindKernel("Add");
  const auto mul = device->FindKernel("Mul");
  const auto stream = device->FindKernel("Stream");  // in the second code object
  ASSERT_TRUE(add.ok() && mul.ok() && stream.ok());
  EXPECT_STREQ(add->name, "Add");
  EXPECT_EQ(device->FindKernel("Add")->handle, add->handle);
  AddArgs args{1, 0x1234};
  Launch first = Launch::Of(*add, args);
  first.grid_x = 3;
  ASSERT_TRUE(device->Run(first).ok());
  first.args.fill(std::byte{0xff});  // the launch took its copy
  Launch second = Launch::Of(*mul, args);
  second.overlap = true;
  second.threads = 256;
  second.grid_z = 2;
  second.shared_bytes = 232448 - 1024;  // all that its static memory leaves
  ASSERT_TRUE(device->Run(second).ok());
  EXPECT_TRUE(control_->ran.empty());
  ASSERT_TRUE(device->Synchronize().ok());
  EXPECT_EQ(control_->ran,
            (std::vector<std::string>{"Add 3x1x1 128 0 01003412", "early Mul 1x1x2 256 231424 01003412"}));
  second.shared_bytes += 1;
  EXPECT_EQ(device->Run(second).text(),
            "cannot launch Mul (grid 1 x 1 x 2, 256 threads, 231425 bytes of shared memory): STAND_IN_INVALID_VALUE (a "
            "fault on order)");
  const auto missing = device->FindKernel("Sub");
  EXPECT_EQ(missing.status().text(), "the code objects for sm_90a have no kernel Sub");
  EXPECT_EQ(missing.status().kind(), ErrorKind::kInternal);
  EXPECT_FALSE(device->Run(Launch()).ok());
}

TEST_F(DeviceTest, OverlapFallsBackOnOlderDevices) {
  control_->major = 8;
  control_->minor = 6;
  control_->runs = "sm_80";
  const auto device = MustOpen();
  Launch launch = Launch::Of(*device->FindKernel("Add"), AddArgs{0, 0});
  launch.overlap = true;
  ASSERT_TRUE(device->Run(launch).ok() && device->Synchronize().ok());
  EXPECT_EQ(control_->ran, std::vector<std::string>{"Add 1x1x1 128 0 00000000"});
}

TEST_F(DeviceTest, CaptureRecordsAndReplaysInOrder) {
  const auto device = MustOpen();
  auto buffer = device->Allocate(64, "x");
  ASSERT_TRUE(buffer.ok() && device->Synchronize().ok());
  const Kernel add = *device->FindKernel("Add");
  control_->ran.clear();
  auto graph = device->Capture([&]() -> Status {
    UM_RETURN_IF_ERROR(device->Fill(buffer->data(), 0, 64));
    for (uint16_t i = 0; i < 3; ++i) {
      Launch launch = Launch::Of(add, AddArgs{i, 0});
      launch.overlap = i > 0;
      UM_RETURN_IF_ERROR(device->Run(launch));
    }
    return device->Copy(buffer->data(), buffer->data() + 32, 32);
  });
  ASSERT_TRUE(graph.ok()) << graph.status().text();
  ASSERT_TRUE(device->Synchronize().ok());
  EXPECT_TRUE(control_->ran.empty()) << "recording ran something";
  ASSERT_TRUE(device->Run(**graph).ok());
  ASSERT_TRUE(device->Run(**graph).ok());
  ASSERT_TRUE(device->Synchronize().ok());
  const std::vector<std::string> once = {"fill 00 64", "Add 1x1x1 128 0 00000000", "early Add 1x1x1 128 0 01000000",
                                         "early Add 1x1x1 128 0 02000000", "copy 32"};
  std::vector<std::string> twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  EXPECT_EQ(control_->ran, twice);
}

TEST_F(DeviceTest, CaptureRefusesWhatCannotBeRecorded) {
  const auto device = MustOpen();
  auto buffer = device->Allocate(64, "x");
  ASSERT_TRUE(buffer.ok());
  char byte = 0;
  const std::function<Status()> acts[] = {
      [&] { return device->Upload(buffer->data(), &byte, 1); },
      [&] { return device->Download(&byte, buffer->data(), 1); },
      [&] { return device->Synchronize(); },
      [&] { return device->Allocate(1, "y").status(); },
      [&] { return device->Fetch(0, buffer->data(), 1); },
      [&] { return device->Fetched(0).status(); },
      [&] { return device->Mark(0); },
      [&] { return device->Milliseconds(0, 1).status(); },
      [&] { return device->Capture([] { return Status(); }).status(); },
  };
  for (const auto& act : acts) {
    const auto graph = device->Capture(act);
    EXPECT_EQ(graph.status().kind(), ErrorKind::kInternal);
    EXPECT_NE(graph.status().text().find("inside Capture"), std::string_view::npos) << graph.status().text();
  }
  EXPECT_TRUE(device->Synchronize().ok());
}

TEST_F(DeviceTest, FaultNamesTheLastLaunches) {
  const auto device = MustOpen();
  control_->fault_kernel = "Bad";
  const auto run = [&](const char* name) { return device->Run(Launch::Of(*device->FindKernel(name), AddArgs{1, 2})); };
  const auto graph = device->Capture([&] {
    const Status add = run("Add");
    return add.ok() ? run("Stream") : add;
  });
  ASSERT_TRUE(graph.ok());
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(run("Mul").ok());
  ASSERT_TRUE(device->Run(**graph).ok());
  ASSERT_TRUE(run("Bad").ok());
  const Status status = device->Synchronize();
  EXPECT_EQ(status.kind(), ErrorKind::kNoDevice);
  EXPECT_EQ(status.text(),
            "a launch failed on Stand-in GPU: STAND_IN_ILLEGAL_ADDRESS (a fault on order); last launches, newest last: "
            "Mul, Mul, Mul, Mul, graph of 2 launches (Add ... Stream), Bad");
  EXPECT_FALSE(device->Synchronize().ok());  // the context is lost for good
  EXPECT_FALSE(device->Allocate(1, "more").ok());
}

TEST_F(DeviceTest, AFetchDoesNotWaitForWhatFollowsIt) {
  const auto device = MustOpen();
  auto buffer = device->Allocate(256, "x");
  ASSERT_TRUE(buffer.ok());
  const auto count = [&](const char* word) {
    return std::ranges::count_if(control_->ran, [&](const std::string& ran) { return ran.find(word) != ran.npos; });
  };
  const auto launch = [&](const char* name) {
    return device->Run(Launch::Of(*device->FindKernel(name), AddArgs{1, 2}));
  };
  EXPECT_EQ(device->Fetched(1).status().text(), "nothing was fetched into slot 1");
  for (int round = 0; round < 3; ++round) {  // slots may be used again
    const auto adds = count("Add"), muls = count("Mul");
    ASSERT_TRUE(device->Fill(buffer->data(), 10 + round, 256).ok());
    ASSERT_TRUE(launch("Add").ok());
    ASSERT_TRUE(device->Fetch(0, buffer->data(), 256).ok());
    ASSERT_TRUE(device->Fill(buffer->data(), 20 + round, 256).ok());
    ASSERT_TRUE(launch("Mul").ok());
    ASSERT_TRUE(device->Fetch(1, buffer->data() + 8, 4).ok());
    EXPECT_EQ(count("Add"), adds) << "a fetch waited";
    const auto first = device->Fetched(0);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(count("Add"), adds + 1);
    EXPECT_EQ(count("Mul"), muls) << "it waited for what was launched behind it";
    EXPECT_EQ(std::vector<std::byte>(*first, *first + 256), std::vector<std::byte>(256, std::byte(10 + round)));
    const auto second = device->Fetched(1);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ((*second)[3], std::byte(20 + round));
    EXPECT_EQ((*first)[255], std::byte(10 + round));
  }
}

TEST_F(DeviceTest, MarksTellTime) {
  const auto device = MustOpen();
  const Kernel add = *device->FindKernel("Add");
  EXPECT_EQ(device->Milliseconds(0, 1).status().text(), "mark 0 was never set");
  ASSERT_TRUE(device->Mark(0).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(device->Run(Launch::Of(add, AddArgs{0, 0})).ok());
  ASSERT_TRUE(device->Mark(1).ok());
  const auto time = device->Milliseconds(0, 1);
  ASSERT_TRUE(time.ok());
  EXPECT_EQ(*time, 5.0);
  ASSERT_TRUE(device->Mark(0).ok());  // a slot may be set again
}

TEST_F(DeviceTest, MayMoveToAnotherThread) {
  const auto device = MustOpen();
  std::thread([&] {
    auto buffer = device->Allocate(100, "x");
    EXPECT_TRUE(buffer.ok());
    EXPECT_TRUE(device->Fill(buffer->data(), 1, 100).ok());
    EXPECT_TRUE(device->Synchronize().ok());
  }).join();
}

// Everything that a device can do; the first error ends it.
Status Everything(const Result<std::unique_ptr<Device>>& opened) {
  if (!opened.ok()) return opened.status();
  Device& device = **opened;
  UM_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(200'000, "buffer"));
  std::vector<uint8_t> data = Pattern(200'000, 3);
  UM_RETURN_IF_ERROR(device.Upload(buffer.data(), data.data(), data.size()));
  UM_RETURN_IF_ERROR(device.Upload(buffer.data(), data.data(), 100));
  UM_ASSIGN_OR_RETURN(const Kernel add, device.FindKernel("Add"));
  UM_ASSIGN_OR_RETURN(const Kernel stream, device.FindKernel("Stream"));
  UM_RETURN_IF_ERROR(device.Mark(0));
  UM_RETURN_IF_ERROR(device.Run(Launch::Of(stream, AddArgs{1, 2})));
  Launch launch = Launch::Of(add, AddArgs{1, 2});
  launch.overlap = true;
  const auto record = [&]() -> Status {
    UM_RETURN_IF_ERROR(device.Run(launch));
    return device.Copy(buffer.data(), buffer.data() + 1000, 1000);
  };
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Graph> graph, device.Capture(record));
  UM_RETURN_IF_ERROR(device.Run(*graph));
  UM_RETURN_IF_ERROR(device.Mark(1));
  const auto time = device.Milliseconds(0, 1);
  if (!time.ok()) return time.status();
  UM_RETURN_IF_ERROR(device.Fill(buffer.data(), 0, 10));
  UM_RETURN_IF_ERROR(device.Fetch(1, buffer.data(), 100));
  UM_RETURN_IF_ERROR(device.Fetched(1).status());
  UM_RETURN_IF_ERROR(device.Download(data.data(), buffer.data(), 100));
  UM_RETURN_IF_ERROR(device.Download(data.data(), buffer.data(), data.size()));
  return device.Synchronize();
}

TEST_F(DeviceTest, EveryCallMayFail) {
  for (const Vendor vendor : {Vendor::kCuda, Vendor::kHip}) {
    for (const bool fail_on : {false, true}) {
      for (const int code : {999, 700, 2}) {
        int n = 1;
        for (;; ++n) {
          ASSERT_LT(n, 1000);
          bool told = false;
          const auto run = [&] {
            Choose(vendor);
            return Everything(OpenAs(vendor));
          };
          if (RunFailing(n, code, fail_on, run, &told).empty()) break;
        }
        EXPECT_GT(n, 60);
      }
    }
  }
}

TEST(ParseDeviceTest, ValidForms) {
  struct Case {
    std::string_view text;
    DeviceChoice::Kind kind;
    int index, lanes;
  };
  const Case cases[] = {{"auto", DeviceChoice::kAuto, 0, 32},           {"cpu", DeviceChoice::kCpu, 0, 32},
                        {"cuda", DeviceChoice::kCuda, 0, 32},           {"cuda:0", DeviceChoice::kCuda, 0, 32},
                        {"cuda:7", DeviceChoice::kCuda, 7, 32},         {"hip", DeviceChoice::kHip, 0, 32},
                        {"hip:12", DeviceChoice::kHip, 12, 32},         {"emulator", DeviceChoice::kEmulator, 0, 32},
                        {"emulator32", DeviceChoice::kEmulator, 0, 32}, {"emulator64", DeviceChoice::kEmulator, 0, 64}};
  for (const Case& c : cases) {
    const auto choice = ParseDevice(c.text);
    ASSERT_TRUE(choice.ok()) << c.text;
    EXPECT_EQ(choice->kind, c.kind);
    EXPECT_EQ(choice->index, c.index);
    EXPECT_EQ(choice->lanes, c.lanes);
  }
  for (const std::string_view text :
       {"", "CUDA", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda: 1", "cpu:0", "auto:1", "emulator:64",
        "emulator16", "hip:99999999999999999999", ":", " cuda"}) {
    EXPECT_EQ(ParseDevice(text).status().kind(), ErrorKind::kUsage) << text;
  }
  EXPECT_EQ(ParseDevice("gpu").status().text(),
            "no device is called \"gpu\"; use auto, cpu, cuda[:N], hip[:N], emulator or emulator64");
}

TEST_F(DeviceTest, ChoiceOfADevice) {
  const auto refuse = [](const char* why) {
    return [why](int) -> Result<std::unique_ptr<Device>> { return NoDevice("{}", why); };
  };
  DeviceOpeners openers{refuse("no NVIDIA driver (libcuda.so.1 not found)"), refuse("no AMD driver (x not found)"),
                        refuse("none")};
  const auto nothing = OpenWith({}, openers);
  ASSERT_TRUE(nothing.ok());
  EXPECT_EQ(nothing->device, nullptr);
  EXPECT_EQ(nothing->why, "no NVIDIA driver (libcuda.so.1 not found); no AMD driver (x not found): using the CPU");
  const auto emulator = Open({DeviceChoice::kEmulator, 0, 64});
  ASSERT_TRUE(emulator.ok()) << emulator.status().text();
  EXPECT_EQ(emulator->device->limits().lanes, 64);
  EXPECT_TRUE(Open({}).ok());  // whatever this machine has
  EXPECT_EQ(OpenWith({DeviceChoice::kCuda}, openers).status().kind(), ErrorKind::kNoDevice);
  EXPECT_EQ(OpenWith({DeviceChoice::kHip}, openers).status().kind(), ErrorKind::kNoDevice);
  EXPECT_EQ(OpenWith({DeviceChoice::kCpu}, openers)->why, "using the CPU, as asked");

  Choose(Vendor::kHip);
  openers.amd = [&](int index) { return OpenAs(Vendor::kHip, index); };
  EXPECT_EQ(
      OpenWith({}, openers)->why,
      "no NVIDIA driver (libcuda.so.1 not found); found Stand-in GPU (gfx942, driver HIP 0.0.13000): using hip:0");
  EXPECT_EQ(OpenWith({DeviceChoice::kHip, 1}, openers).status().text(),
            "there is no device hip:1; the last one is hip:0");
  Choose(Vendor::kCuda);
  openers.nvidia = [&](int index) { return OpenAs(Vendor::kCuda, index); };
  const auto found = OpenWith({}, openers);
  ASSERT_TRUE(found.ok() && found->device != nullptr);
  EXPECT_TRUE(found->why.starts_with("found Stand-in GPU (sm_90a, driver ")) << found->why;
  EXPECT_TRUE(found->why.ends_with("): using cuda:0")) << found->why;
  EXPECT_TRUE(OpenWith({DeviceChoice::kCuda}, openers)->why.ends_with("): using cuda:0, as asked"));
}

}  // namespace
}  // namespace unimax
