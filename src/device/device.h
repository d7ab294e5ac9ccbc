// SPDX-License-Identifier: Apache-2.0
// A device that runs kernels of code objects: an NVIDIA or AMD GPU behind its driver, or the emulator on host fibers.
// One stream, in order. Addresses are device addresses; only Upload and Download cross to the host.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/matrix_map.h"
#include "base/status.h"
#include "base/tile_order.h"

namespace unimax {

struct Limits {
  std::string name;    // "NVIDIA H200"
  std::string target;  // code object in use: "sm_90a", "gfx942", "emulator32"
  std::string driver;  // "580.159", "" where there is none
  int multiprocessors = 0;
  int lanes = 32;                          // threads that execute a group instruction together
  TileOrder tile_order = TileOrder::kMma;  // of packed weights
  int tile_cols = 8;                       // batch columns of one matrix instruction (port.h: kTileCols)
  int64_t shared_bytes_per_block = 0;
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;  // of the card
  int64_t free_bytes = 0;    // when the device was opened
};

class Device;

// Rows of 16-bit elements on a device, of which its copy engine copies boxes of box_rows rows and 64 columns. What of a
// box lies outside becomes zero.
struct MatrixShape {
  const void* first;           // 16-byte aligned
  int rows, cols, stride = 0;  // stride in elements, a multiple of 8
  int box_rows = 0;            // at most 256
};

// Device memory that is freed with the object. Moves, never copies.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, void* address, size_t bytes) : device_(device), address_(address), bytes_(bytes) {}
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(device_, o.device_);
    std::swap(address_, o.address_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Buffer();
  std::byte* data() const { return static_cast<std::byte*>(address_); }
  size_t bytes() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  void* address_ = nullptr;
  size_t bytes_ = 0;
};

// A kernel found by name; valid as long as its device.
struct Kernel {
  const void* handle = nullptr;
  const char* name = "";
};

// One launch, with a copy of the kernel's single argument struct.
inline constexpr size_t kMostArgs = 896;  // bytes of a kernel's arguments
struct Launch {
  Kernel kernel;
  int grid_x = 1, grid_y = 1, grid_z = 1;
  int threads = 128;      // a multiple of the device's lanes
  int shared_bytes = 0;   // dynamic shared memory
  bool overlap = false;   // programmatic dependent launch: may start before the launch before it ends; the kernel waits
  bool together = false;  // all blocks run at the same time: they wait for each other; kUsage where that cannot be
  int args_bytes = 0;
  alignas(64) std::array<std::byte, kMostArgs> args{};  // a MatrixMap among them wants that

  template <class Args>
  static Launch Of(Kernel kernel, const Args& args) {
    static_assert(sizeof(Args) <= kMostArgs);
    Launch launch;
    launch.kernel = kernel;
    launch.args_bytes = sizeof(Args);
    std::memcpy(launch.args.data(), &args, sizeof(Args));
    return launch;
  }
};

// Launches recorded once and replayed as one.
class Graph {
 public:
  virtual ~Graph() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const Limits& limits() const = 0;

  // Errors: kNoDevice with what was asked for and what is free. The content is poisoned (0xA5), never zero.
  virtual Result<Buffer> Allocate(size_t bytes, std::string_view label) = 0;
  virtual void Free(void* address) = 0;  // called by ~Buffer

  // Transfers of 0 bytes do nothing: their host address may be null.
  virtual Status Upload(void* to, const void* from, size_t bytes) = 0;  // returns when `from` may be changed
  // An upload whose bytes are made where the device fetches them, piece after piece, while the pieces before are on
  // their way. `write` puts bytes [first, first + count) of the whole to `to`, which it may not read; it is called on
  // this thread, in order, with pieces of any size, and may share its work with other threads.
  using PieceWriter = std::function<void(std::byte* to, size_t first, size_t count)>;
  virtual Status UploadPieces(void* to, size_t bytes, const PieceWriter& write) = 0;
  virtual Status Download(void* to, const void* from, size_t bytes) = 0;  // waits for all launches before it
  // Begins a download into memory of the device's own and returns at once. Fetched waits for that download alone, not
  // for what was launched behind it; its bytes hold until the next Fetch into the slot.
  static constexpr int kFetches = 2;
  static constexpr size_t kFetchBytes = 64 << 10;  // at most
  virtual Status Fetch(int slot, const void* from, size_t bytes) = 0;
  virtual Result<const std::byte*> Fetched(int slot) = 0;
  virtual Status Fill(void* to, int byte, size_t bytes) = 0;
  virtual Status Copy(void* to, const void* from, size_t bytes) = 0;  // device to device

  virtual Result<Kernel> FindKernel(std::string_view name) = 0;  // kInternal when the code object lacks it
  virtual Status Run(const Launch& launch) = 0;                  // asynchronous; recorded inside Capture
  virtual Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& record) = 0;
  virtual Status Run(const Graph& graph) = 0;
  // For kernels that were written for this device's copy engine; kInternal where it has none.
  virtual Result<MatrixMap> MapMatrix(const MatrixShape& /*shape*/) { return Internal("no copy engine takes boxes"); }
  // The driver's own stream, for libraries that enqueue work by themselves; null where there is none.
  virtual void* stream() const { return nullptr; }
  virtual Status Synchronize() = 0;  // waits; reports a fault of any launch since the last one

  // Milliseconds on the device between two marks of the stream. Mark slots are 0 .. kMarks - 1.
  static constexpr int kMarks = 64;
  virtual Status Mark(int slot) = 0;
  virtual Result<double> Milliseconds(int from, int to) = 0;  // waits for `to`
};

inline Buffer::~Buffer() {
  if (device_ != nullptr && address_ != nullptr) device_->Free(address_);
}

}  // namespace unimax
