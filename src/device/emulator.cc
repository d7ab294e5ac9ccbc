// SPDX-License-Identifier: Apache-2.0
#include "device/emulator.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory_resource>

#include "device/emulator_entry.h"
#include "device/emulator_grid.h"

namespace unimax {
namespace {

using emulator::GlobalMemory;
using Clock = std::chrono::steady_clock;

constexpr int64_t kMemoryBytes = int64_t{16} << 30;
constexpr size_t kBufferAlign = 256;
constexpr int kPoison = 0xA5;

class EmulatorGraph : public Graph {
 public:
  explicit EmulatorGraph(std::vector<Launch> launches) : launches_(std::move(launches)) {}
  const std::vector<Launch>& launches() const { return launches_; }

 private:
  std::vector<Launch> launches_;
};

class EmulatorDevice : public Device {
 public:
  EmulatorDevice(const EmulatorOptions& options, std::span<const EmulatorEntry> entries)
      : entries_(entries), grid_(options, &memory_), together_(options.together) {
    const bool narrow = options.lanes == 32;
    limits_.name = "emulator";
    limits_.target = narrow ? "emulator32" : "emulator64";
    limits_.multiprocessors = 4;
    limits_.lanes = options.lanes;
    limits_.tile_cols = narrow ? 8 : 16;
    limits_.tile_order = narrow ? TileOrder::kMma : TileOrder::kMfma;
    limits_.shared_bytes_per_block = narrow ? 227 * 1024 : 64 * 1024;
    limits_.l2_bytes = 32 << 20;
    limits_.memory_bytes = limits_.free_bytes = kMemoryBytes;
  }

  const Limits& limits() const override { return limits_; }

  Result<Buffer> Allocate(size_t bytes, std::string_view label) override {
    const int64_t left = kMemoryBytes - used_bytes_;
    if (bytes > static_cast<uint64_t>(left)) {
      return NoDevice("{} needs {} bytes of the emulator's memory, {} are free", label, bytes, left);
    }
    void* address = Host().allocate(HostBytes(bytes), kBufferAlign);
    std::memset(address, kPoison, bytes);
    memory_.Add(address, bytes);
    used_bytes_ += static_cast<int64_t>(bytes);
    return Buffer(this, address, bytes);
  }

  void Free(void* address) override {
    const size_t bytes = memory_.BytesAt(address);
    used_bytes_ -= static_cast<int64_t>(bytes);
    memory_.Remove(address);
    Host().deallocate(address, HostBytes(bytes), kBufferAlign);
  }

  Status Upload(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(CheckTransfer("Upload", to, bytes));
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
  // In pieces, as on a GPU, though smaller ones and of an odd size.
  Status UploadPieces(void* to, size_t bytes, const PieceWriter& write) override {
    constexpr size_t kPiece = 1'000'003;
    UM_RETURN_IF_ERROR(CheckTransfer("Upload", to, bytes));
    for (size_t first = 0; first < bytes; first += kPiece) {
      write(static_cast<std::byte*>(to) + first, first, std::min(kPiece, bytes - first));
    }
    return {};
  }
  Status Download(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(CheckTransfer("Download", from, bytes));
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
  Status Fill(void* to, int byte, size_t bytes) override {
    UM_RETURN_IF_ERROR(CheckTransfer("Fill", to, bytes));
    std::memset(to, byte, bytes);
    return {};
  }
  Status Copy(void* to, const void* from, size_t bytes) override {
    UM_RETURN_IF_ERROR(CheckTransfer("Copy", to, bytes));
    UM_RETURN_IF_ERROR(CheckTransfer("Copy", from, bytes));
    std::memmove(to, from, bytes);
    return {};
  }

  Result<Kernel> FindKernel(std::string_view name) override {
    for (const EmulatorEntry& entry : entries_) {
      if (name == entry.name) return Kernel{&entry, entry.name};
    }
    return Internal("{} has no kernel {}", limits_.target, name);
  }

  Status Run(const Launch& launch) override {
    UM_RETURN_IF_ERROR(CheckLaunch(launch));
    if (launch.together && launch.grid_x > together_) {
      return UsageError("{} cannot run all {} blocks of {} at the same time", limits_.name, launch.grid_x,
                        launch.kernel.name);
    }
    if (capture_ != nullptr) {
      capture_->push_back(launch);
      return {};
    }
    return grid_.Run(*static_cast<const EmulatorEntry*>(launch.kernel.handle), launch);
  }

  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& record) override {
    if (capture_ != nullptr) return Internal("Capture inside Capture");
    std::vector<Launch> launches;
    capture_ = &launches;
    Status status = record();
    capture_ = nullptr;
    if (!status.ok()) return status;
    return std::unique_ptr<Graph>(std::make_unique<EmulatorGraph>(std::move(launches)));
  }

  Status Run(const Graph& graph) override {
    if (capture_ != nullptr) return Internal("a graph inside Capture");
    for (const Launch& launch : static_cast<const EmulatorGraph&>(graph).launches()) UM_RETURN_IF_ERROR(Run(launch));
    return {};
  }

  Status Fetch(int slot, const void* from, size_t bytes) override {
    if (slot < 0 || slot >= kFetches || bytes > kFetchBytes)
      return Internal("a fetch of {} bytes into {}", bytes, slot);
    fetched_[static_cast<size_t>(slot)].resize(bytes);
    return Download(fetched_[static_cast<size_t>(slot)].data(), from, bytes);
  }
  Result<const std::byte*> Fetched(int slot) override {
    if (slot < 0 || slot >= kFetches) return Internal("slot {} of {}", slot, kFetches);
    return static_cast<const std::byte*>(fetched_[static_cast<size_t>(slot)].data());
  }

  // The shape itself is the map.
  Result<MatrixMap> MapMatrix(const MatrixShape& shape) override {
    MatrixMap map = {};
    static_assert(sizeof(shape) <= sizeof(map.bytes));
    std::memcpy(map.bytes, &shape, sizeof(shape));
    return map;
  }
  Status Synchronize() override { return {}; }  // every launch has ended, and Run has told its fault

  Status Mark(int slot) override {
    if (slot < 0 || slot >= kMarks) return Internal("mark {} of {}", slot, kMarks);
    marks_[static_cast<size_t>(slot)] = Clock::now();
    return {};
  }
  Result<double> Milliseconds(int from, int to) override {
    if (from < 0 || from >= kMarks || to < 0 || to >= kMarks) return Internal("marks {}, {} of {}", from, to, kMarks);
    const auto span = marks_[static_cast<size_t>(to)] - marks_[static_cast<size_t>(from)];
    return std::chrono::duration<double, std::milli>(span).count();
  }

 private:
  static std::pmr::memory_resource& Host() { return *std::pmr::new_delete_resource(); }
  // At least one byte, so that every buffer has an address of its own.
  static size_t HostBytes(size_t bytes) { return std::max<size_t>(bytes, 1); }

  // A transfer between host and device cannot be replayed by a graph: drivers refuse it during a capture as well.
  Status CheckTransfer(const char* what, const void* address, size_t bytes) {
    if (capture_ != nullptr) return Internal("{} inside Capture", what);
    if (bytes > 0 && !memory_.Contains(address, bytes, GlobalMemory::kWrite)) {
      return Internal("{} of {} bytes at {}, outside every buffer", what, bytes, address);
    }
    return {};
  }

  Status CheckLaunch(const Launch& l) const {
    if (l.kernel.handle == nullptr) return Internal("a launch without a kernel");
    const EmulatorEntry& entry = *static_cast<const EmulatorEntry*>(l.kernel.handle);
    if (l.args_bytes != entry.args_bytes) {
      return Internal("kernel {}: {} bytes of arguments instead of {}", entry.name, l.args_bytes, entry.args_bytes);
    }
    if (l.threads < limits_.lanes || l.threads % limits_.lanes != 0 || l.threads > entry.max_threads) {
      return Internal("kernel {}: {} threads a block; it takes multiples of {} up to {}", entry.name, l.threads,
                      limits_.lanes, entry.max_threads);
    }
    constexpr int kMaxGrid = 65535;  // of y and z, on every vendor's hardware
    if (l.grid_x < 1 || l.grid_y < 1 || l.grid_z < 1 || l.grid_y > kMaxGrid || l.grid_z > kMaxGrid) {
      return Internal("kernel {}: a grid of {} x {} x {} blocks", entry.name, l.grid_x, l.grid_y, l.grid_z);
    }
    if (l.shared_bytes < 0 || l.shared_bytes > limits_.shared_bytes_per_block) {
      return Internal("kernel {}: {} bytes of shared memory of {}", entry.name, l.shared_bytes,
                      limits_.shared_bytes_per_block);
    }
    return {};
  }

  std::span<const EmulatorEntry> entries_;
  Limits limits_;
  GlobalMemory memory_;
  emulator::Grid grid_;
  int together_;
  int64_t used_bytes_ = 0;
  std::vector<Launch>* capture_ = nullptr;  // while Capture records
  std::array<Clock::time_point, kMarks> marks_{};
  std::array<std::vector<std::byte>, kFetches> fetched_;
};

}  // namespace

Result<std::unique_ptr<Device>> OpenEmulatorWith(const EmulatorOptions& options,
                                                 std::span<const EmulatorEntry> entries) {
  if (options.lanes != 32 && options.lanes != 64) {
    return UsageError("the emulator has 32 or 64 lanes, not {}", options.lanes);
  }
  return std::unique_ptr<Device>(std::make_unique<EmulatorDevice>(options, entries));
}

Result<std::unique_ptr<Device>> OpenEmulator(const EmulatorOptions& options) {
  return OpenEmulatorWith(options, options.lanes == 64 ? EmulatorEntries64() : EmulatorEntries32());
}

}  // namespace unimax
