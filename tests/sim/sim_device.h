// SPDX-License-Identifier: Apache-2.0
// A device of limited memory in front of another, for tests: counts allocations, and fails the n-th call that is asked
// for. Everything else is the inner device's.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "device/device.h"

namespace unimax::sim {

class SimDevice : public Device {
 public:
  SimDevice(Device& inner, int64_t free_bytes) : inner_(inner), limits_(inner.limits()) {
    limits_.free_bytes = free_bytes;
  }
  const Limits& limits() const override { return limits_; }

  Result<Buffer> Allocate(size_t bytes, std::string_view label) override {
    const int call = allocations++;
    if (call == fail_allocation || used_ + static_cast<int64_t>(bytes) > limits_.free_bytes) {
      return NoDevice("{}: {} bytes were asked for, {} are free", label, bytes, limits_.free_bytes - used_);
    }
    UM_ASSIGN_OR_RETURN(Buffer inner, inner_.Allocate(bytes, label));
    used_ += static_cast<int64_t>(bytes);
    void* address = inner.data();
    held_.emplace_back(address, std::move(inner));
    return Buffer(this, address, bytes);
  }
  void Free(void* address) override {
    std::erase_if(held_, [&](const auto& entry) {
      if (entry.first != address) return false;
      used_ -= static_cast<int64_t>(entry.second.bytes());
      return true;
    });
  }

  Status Upload(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Upload(to, from, bytes);
  }
  Status UploadPieces(void* to, size_t bytes, const PieceWriter& write) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.UploadPieces(to, bytes, write);
  }
  Status Download(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Download(to, from, bytes);
  }
  Status Fetch(int slot, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Fetch(slot, from, bytes);
  }
  Result<const std::byte*> Fetched(int slot) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Fetched(slot);
  }
  Status Fill(void* to, int byte, size_t bytes) override { return inner_.Fill(to, byte, bytes); }
  Status Copy(void* to, const void* from, size_t bytes) override { return inner_.Copy(to, from, bytes); }
  Result<Kernel> FindKernel(std::string_view name) override { return inner_.FindKernel(name); }
  Status Run(const Launch& launch) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Run(launch);
  }
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& record) override {
    return inner_.Capture(record);
  }
  Status Run(const Graph& graph) override {
    UM_RETURN_IF_ERROR(Call());
    return inner_.Run(graph);
  }
  Status Synchronize() override { return inner_.Synchronize(); }
  Status Mark(int slot) override { return inner_.Mark(slot); }
  Result<double> Milliseconds(int from, int to) override { return inner_.Milliseconds(from, to); }

  int allocations = 0, fail_allocation = -1;
  int calls = 0, fail_call = -1;  // transfers and launches; after the one that fails all fail

 private:
  Status Call() {
    const int call = calls++;
    if (fail_call < 0 || call < fail_call) return {};
    return NoDevice("the simulated device was lost at call {}", fail_call);
  }
  Device& inner_;
  Limits limits_;
  int64_t used_ = 0;
  std::vector<std::pair<void*, Buffer>> held_;
};

}  // namespace unimax::sim
