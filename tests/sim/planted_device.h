// SPDX-License-Identifier: Apache-2.0
// The emulator with one more kernel, for tests of tune: what the plant says is wrong with it, and by the device's clock
// it is a thousand times as fast as all others.
#pragma once

#include <unistd.h>

#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "device/device.h"
#include "kernels/args.h"

namespace unimax::sim {

struct Plant {
  enum Kind { kWrong, kNotFinite, kHangs, kCrashes, kRight };
  Kind kind = kRight;
  int number = 0;  // 0 .. 4: how
  // Whether a crash leaves the device unusable, as on a GPU, or is told of one launch, as on the emulator.
  bool TakesTheDevice() const { return number != 0; }
  // Whether what is wrong shows only when launches are replayed, not when the row is looked at.
  bool OnlyInReplays() const { return number == 4 && (kind == kHangs || kind == kCrashes); }
};

class PlantedDevice : public Device {
 public:
  static constexpr const char* kKernel = "planted";

  // The kernel does what `good` of the inner device does, but for the plant.
  PlantedDevice(Device& inner, const char* good, Plant plant) : inner_(inner), good_(good), plant_(plant) {}
  const Limits& limits() const override { return inner_.limits(); }
  Result<Buffer> Allocate(size_t bytes, std::string_view label) override {
    UM_RETURN_IF_ERROR(dead_);
    return inner_.Allocate(bytes, label);
  }
  void Free(void* address) override { inner_.Free(address); }
  Status Upload(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(dead_);
    return inner_.Upload(to, from, bytes);
  }
  Status UploadPieces(void* to, size_t bytes, const PieceWriter& write) override {
    UM_RETURN_IF_ERROR(dead_);
    return inner_.UploadPieces(to, bytes, write);
  }
  Status Download(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(Settle());
    return inner_.Download(to, from, bytes);
  }
  Status Fetch(int slot, const void* from, size_t bytes) override { return inner_.Fetch(slot, from, bytes); }
  Result<const std::byte*> Fetched(int slot) override { return inner_.Fetched(slot); }
  Status Fill(void* to, int byte, size_t bytes) override {
    UM_RETURN_IF_ERROR(dead_);
    return inner_.Fill(to, byte, bytes);
  }
  Status Copy(void* to, const void* from, size_t bytes) override { return inner_.Copy(to, from, bytes); }

  Result<Kernel> FindKernel(std::string_view name) override {
    return name == kKernel ? Kernel{this, kKernel} : inner_.FindKernel(name);
  }
  Status Run(const Launch& launch) override {
    UM_RETURN_IF_ERROR(dead_);
    if (launch.kernel.handle != this) return inner_.Run(launch);
    Launch own = launch;
    UM_ASSIGN_OR_RETURN(own.kernel, inner_.FindKernel(good_));
    UM_RETURN_IF_ERROR(inner_.Run(own));
    if (recording_) {
      captured_ = true;
      return {};
    }
    if (plant_.kind == Plant::kWrong || plant_.kind == Plant::kNotFinite) Spoil(launch);
    if (!plant_.OnlyInReplays()) Begin();
    return plant_.kind == Plant::kCrashes && plant_.number == 0 ? NoDevice("planted: the launch was refused")
                                                                : Status();
  }
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& record) override {
    recording_ = true;
    captured_ = false;
    auto graph = inner_.Capture(record);
    recording_ = false;
    if (graph.ok() && captured_) planted_.insert(graph->get());
    return graph;
  }
  Status Run(const Graph& graph) override {
    UM_RETURN_IF_ERROR(dead_);
    timed_ = planted_.contains(&graph);
    UM_RETURN_IF_ERROR(inner_.Run(graph));
    if (timed_) Begin();
    return {};
  }
  Status Synchronize() override {
    UM_RETURN_IF_ERROR(Settle());
    return inner_.Synchronize();
  }
  Status Mark(int slot) override { return inner_.Mark(slot); }
  Result<double> Milliseconds(int from, int to) override {
    UM_RETURN_IF_ERROR(Settle());
    UM_ASSIGN_OR_RETURN(const double ms, inner_.Milliseconds(from, to));
    return timed_ ? ms * 1e-3 : ms;
  }

 private:
  // A launch that hangs or crashes is on the device: whoever waits for it learns it.
  void Begin() { pending_ = plant_.kind == Plant::kHangs || (plant_.kind == Plant::kCrashes && plant_.number > 0); }
  Status Settle() {
    if (pending_ && plant_.kind == Plant::kHangs) {
      while (true) ::pause();
    }
    if (pending_) dead_ = NoDevice("planted: an illegal address (fault {})", plant_.number);
    return dead_;
  }
  // Elements of the output: bf16, in rows without gaps. Device addresses of the emulator are the host's.
  void Spoil(const Launch& launch) const {
    uint16_t* y = nullptr;
    size_t count = 0;
    if (launch.args_bytes == static_cast<int>(sizeof(LinearArgs))) {
      LinearArgs args;
      std::memcpy(&args, launch.args.data(), sizeof(args));
      y = static_cast<uint16_t*>(args.y);
      count = static_cast<size_t>(args.m) * static_cast<size_t>(args.n);
    } else {
      AttentionArgs args;
      std::memcpy(&args, launch.args.data(), sizeof(args));
      y = static_cast<uint16_t*>(args.y);
      count = static_cast<size_t>(args.m) * static_cast<size_t>(args.heads) * static_cast<size_t>(args.head_dim);
    }
    const bool nan = plant_.kind == Plant::kNotFinite;
    const uint16_t values[] = {0x7fc0, 0x7f80, 0xff80, 0x7f81, 0xffff};  // NaN and infinities
    const auto bad = [&](size_t i) {
      y[i] = nan ? values[plant_.number] : static_cast<uint16_t>(y[i] ^ 0x8000u);  // another sign
    };
    switch (plant_.number) {
      case 0:  // everywhere
        for (size_t i = 0; i < count; ++i) bad(i);
        return;
      case 1:
        return bad(0);
      case 2:
        return bad(count - 1);
      case 3:  // the second half
        for (size_t i = count / 2; i < count; ++i) bad(i);
        return;
      default:  // one in sixteen
        for (size_t i = 7; i < count; i += 16) bad(i);
        return;
    }
  }

  Device& inner_;
  const char* good_;
  Plant plant_;
  bool recording_ = false, captured_ = false, timed_ = false, pending_ = false;
  std::set<const Graph*> planted_;
  Status dead_;
};

}  // namespace unimax::sim
