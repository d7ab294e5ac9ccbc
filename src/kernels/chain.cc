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

uint64_t WordBytes(const Limits& limits) {  // two parts a block
  return 2ull * kChainRows * WflatLayout<kChainRows>::kPanel * 4 * static_cast<uint64_t>(limits.multiprocessors);
}
constexpr uint64_t kSquareBytes = sizeof(unsigned long long) * kChainLinks * kChainRows;

}  // namespace

const char* ChainKernel(DType act, int m, const Limits& limits) {
  // In f16 a stream times the norm's weights may be more than there is.
  const bool has = limits.target == "sm_90a" || limits.target == kEmulator;
  if (act != DType::kBF16 || !has || m > kChainRows) return nullptr;
  return RowOf(m).kernel;
}

bool IsLink(int n, int k, bool normed) {
  constexpr int kMostNormed = 512 * 32;  // strips of squares that a sum has room for
  return n % 32 == 0 && k % 32 == 0 && (!normed || n <= kMostNormed);
}

uint64_t ChainMemory::Bytes(const Limits& limits) {
  return sizeof(int) * kChainCounts + kSquareBytes + WordBytes(limits);
}

Result<ChainMemory> ChainMemory::Make(Device& device) {
  ChainMemory memory;
  UM_ASSIGN_OR_RETURN(memory.done_, device.Allocate(sizeof(int) * kChainCounts, "counts of chains"));
  UM_ASSIGN_OR_RETURN(memory.squares_, device.Allocate(kSquareBytes, "sums of squares"));
  UM_ASSIGN_OR_RETURN(memory.words_, device.Allocate(WordBytes(device.limits()), "unfinished sums of chains"));
  UM_RETURN_IF_ERROR(device.Fill(memory.done_.data(), 0, memory.done_.bytes()));
  UM_RETURN_IF_ERROR(device.Fill(memory.squares_.data(), 0, memory.squares_.bytes()));
  UM_RETURN_IF_ERROR(device.Fill(memory.words_.data(), 0xff, memory.words_.bytes()));
  return memory;
}

void ChainMemory::AddTo(ChainArgs* args) const {
  args->done = reinterpret_cast<int*>(done_.data());
  args->squares = reinterpret_cast<unsigned long long*>(squares_.data());
  args->words = reinterpret_cast<float*>(words_.data());
  for (int l = 0; l < args->links; ++l) {
    ChainLink& link = args->link[l];
    if (link.norm == nullptr) continue;
    link.squares = args->squares + l * kChainRows;
    args->link[l + 1].x_squares = link.squares;
  }
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
