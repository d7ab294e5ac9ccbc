// SPDX-License-Identifier: Apache-2.0
#include "exec/read_rate.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/team.h"
#include "kernels/args.h"

namespace unimax {
namespace {

Result<double> DeviceReadRate(Device& device) {
  // The emulator's rate is that of its own work, whatever lies in a cache.
  const int64_t most = device.limits().target.starts_with("emulator") ? 16 << 20 : int64_t{8} << 30;
  const int64_t bytes = std::min(device.limits().free_bytes / 4, most) / 16 * 16;
  UM_ASSIGN_OR_RETURN(const Buffer buffer, device.Allocate(static_cast<size_t>(bytes), "read rate"));
  UM_ASSIGN_OR_RETURN(const Buffer sink, device.Allocate(16, "read rate"));
  UM_ASSIGN_OR_RETURN(const Kernel fill, device.FindKernel("fill_random_f32"));
  Launch random = Launch::Of(fill, FillRandomArgs{buffer.data(), bytes / 4, 1, 1.0f, 0.0f});
  random.grid_x = 1024;
  random.threads = 256;
  UM_RETURN_IF_ERROR(device.Run(random));
  UM_ASSIGN_OR_RETURN(const Kernel read, device.FindKernel("read_rate"));
  Launch launch =
      Launch::Of(read, ReadRateArgs{buffer.data(), reinterpret_cast<unsigned*>(sink.data()), bytes / 16, 1});
  launch.grid_x = device.limits().multiprocessors * 16;
  launch.threads = 1024;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    UM_RETURN_IF_ERROR(device.Mark(0));
    UM_RETURN_IF_ERROR(device.Run(launch));
    UM_RETURN_IF_ERROR(device.Mark(1));
    UM_ASSIGN_OR_RETURN(const double ms, device.Milliseconds(0, 1));
    best = std::max(best, static_cast<double>(bytes) / ms * 1e3);
  }
  return best;
}

Result<double> HostReadRate(int threads) {
  constexpr size_t kWords = size_t{512} << 17;  // 512 MB
  if (threads <= 0) threads = Team::DefaultThreads();
  std::vector<uint64_t> words(kWords);
  for (size_t i = 0; i < kWords; ++i) words[i] = i * 0x9e3779b97f4a7c15u;
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);  // 64 bytes apart
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double begin = NowMilliseconds();
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        const size_t from = kWords / static_cast<size_t>(threads) * static_cast<size_t>(t);
        uint64_t sum[8] = {};
        for (size_t i = from; i + 8 <= from + kWords / static_cast<size_t>(threads); i += 8) {
          for (size_t j = 0; j < 8; ++j) sum[j] += words[i + j];
        }
        for (uint64_t s : sum) sums[static_cast<size_t>(t) * 8] ^= s;
      });
    }
    for (std::thread& thread : team) thread.join();
    best = std::max(best, static_cast<double>(kWords * 8) / (NowMilliseconds() - begin) * 1e3);
  }
  return best;
}

}  // namespace

Result<double> ReadRate(Device* device, int threads) {
  return device != nullptr ? DeviceReadRate(*device) : HostReadRate(threads);
}

}  // namespace unimax
