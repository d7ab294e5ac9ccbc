// SPDX-License-Identifier: Apache-2.0
#include "kernels/chain.h"

#include <algorithm>

#include "kernels/wflat_layout.h"

namespace unimax {
namespace {

constexpr const char* kEmulator = "emulator32";  // has the kernels in their own test alone

struct ChainRow {
  int rows;  // at most
  const char* kernel;
  int shared_bytes;
};
constexpr ChainRow kRows[] = {{16, "linear_chain_bf16_16", WflatLayout<16>::kBytes},
                              {32, "linear_chain_bf16_32", WflatLayout<32>::kBytes},
                              {kChainRows, "linear_chain_bf16_64", WflatLayout<kChainRows>::kBytes}};
const ChainRow& RowOf(int m) {
  return *std::ranges::find_if(kRows, [&](const ChainRow& row) { return m <= row.rows; });
}

constexpr uint64_t kSumBytes = sizeof(unsigned long long) * kChainLinks * kChainRows * 2;

}  // namespace

const char* ChainKernel(DType act, int m, const Limits& limits) {
  // In f16 a stream times the norm's weights may be more than there is.
  const bool has = limits.target == "sm_90a" || limits.target == kEmulator;
  if (act != DType::kBF16 || !has || m > kChainRows) return nullptr;
  return RowOf(m).kernel;
}

bool IsLink(int n, int k, bool normed) {
  constexpr int kMostNormed = 512 * 32;  // strips that a sum of squares has room for
  return n % 32 == 0 && k % 32 == 0 && (!normed || n <= kMostNormed);
}

uint64_t ChainMemory::Bytes() { return sizeof(int) * kChainCounts + kSumBytes; }

Result<ChainMemory> ChainMemory::Make(Device& device) {
  ChainMemory memory;
  UM_ASSIGN_OR_RETURN(memory.done_, device.Allocate(sizeof(int) * kChainCounts, "counts of chains"));
  UM_ASSIGN_OR_RETURN(memory.sums_, device.Allocate(kSumBytes, "sums of norms"));
  UM_RETURN_IF_ERROR(device.Fill(memory.done_.data(), 0, memory.done_.bytes()));
  UM_RETURN_IF_ERROR(device.Fill(memory.sums_.data(), 0, memory.sums_.bytes()));
  return memory;
}

void ChainMemory::AddTo(ChainArgs* args) const {
  args->done = reinterpret_cast<int*>(done_.data());
  args->sums = reinterpret_cast<unsigned long long*>(sums_.data());
  for (int l = 0; l < args->links; ++l) {
    ChainLink& link = args->link[l];
    if (link.norm == nullptr) continue;
    link.sums = args->sums + l * kChainRows * 2;
    link.layer = args->link[l + 1].slope != nullptr;
    args->link[l + 1].x_sums = link.sums;
  }
}

Result<bool> ChainMemory::IsClean(Device& device) const {
  for (const Buffer* buffer : {&done_, &sums_}) {
    std::vector<std::byte> bytes(buffer->bytes());
    UM_RETURN_IF_ERROR(device.Download(bytes.data(), buffer->data(), bytes.size()));
    if (std::ranges::any_of(bytes, [](std::byte b) { return b != std::byte{0}; })) return false;
  }
  return true;
}

Result<Launch> LaunchOfChain(Device& device, const ChainArgs& args) {
  const int m = args.link[0].m;
  const char* name = ChainKernel(DType::kBF16, m, device.limits());
  if (name == nullptr) return Internal("no kernel takes a chain of {} rows", m);
  UM_ASSIGN_OR_RETURN(const Kernel kernel, device.FindKernel(name));
  Launch launch = Launch::Of(kernel, args);
  launch.grid_x = device.limits().multiprocessors;
  launch.threads = kChainThreads;
  launch.together = device.limits().target == kEmulator;  // a GPU runs all blocks anyway, and starts them early
  launch.shared_bytes = RowOf(m).shared_bytes;
  return launch;
}

}  // namespace unimax
