// SPDX-License-Identifier: Apache-2.0
#include "stand_in/emulated.h"

#include "stand_in/state.h"

namespace unimax {
namespace {

std::span<const EmulatorEntry> EntriesFor(std::string_view target) {
  if (target == "gfx950") return EmulatorEntriesMfma32();
  if (target.starts_with("gfx9")) return EmulatorEntries64();
  if (target.starts_with("gfx11")) return EmulatorEntriesWmma11();
  if (target.starts_with("gfx12")) return EmulatorEntriesWmma12();
  return {};
}

}  // namespace

const EmulatorEntry* EmulatedEntry(std::string_view target, std::string_view name) {
  for (const EmulatorEntry& entry : EntriesFor(target)) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

std::string RefusedLaunch(const KernelCode& code, int entry_args, int threads, int shared_bytes, int shared_limit) {
  if (entry_args != code.args_bytes) {
    return fmt::format("{} bytes of arguments, the code takes {}", entry_args, code.args_bytes);
  }
  if (threads > code.max_threads) return fmt::format("{} threads, the code takes {}", threads, code.max_threads);
  if (threads % code.lanes != 0) return fmt::format("{} threads in waves of {}", threads, code.lanes);
  if (code.shared_bytes + shared_bytes > shared_limit) {
    return fmt::format("{} + {} bytes of LDS of {}", code.shared_bytes, shared_bytes, shared_limit);
  }
  return {};
}

Status EmulatedGpu::Run(const EmulatorEntry& entry, int lanes, const Launch& launch) {
  std::unique_ptr<emulator::Grid>& grid = grids_[lanes];
  if (grid == nullptr) grid = std::make_unique<emulator::Grid>(EmulatorOptions{.lanes = lanes}, &memory_);
  return grid->Run(entry, launch);
}

namespace stand_in {

int LoadElf(DriverModule** module, std::span<const unsigned char> image) {
  const Result<CodeObject> object = ReadCodeObject(image);
  if (!object.ok()) {
    Driver().control.refused.emplace_back(object.status().text());
    return kInvalidImage;
  }
  if (object->target != Driver().control.runs) return kWrongGpu;
  auto made = std::make_unique<Module>();
  for (const auto& [name, code] : object->kernels) {
    const EmulatorEntry* entry = EmulatedEntry(object->target, name);
    if (entry == nullptr) continue;  // as if it were not there: FindKernel then tells its name
    made->functions[name] = {name, code.args_bytes, code.shared_bytes, 0, code, entry};
  }
  Keep(std::move(made), module);
  return 0;
}

// A kernel of a real code object, on the emulator.
int LaunchEmulated(const Function& function, const unsigned (&grid)[3], unsigned threads, unsigned shared,
                   DriverStream* stream, const void* args) {
  std::string refused = RefusedLaunch(function.code, function.entry->args_bytes, static_cast<int>(threads),
                                      static_cast<int>(shared), kHipSharedLimit);
  if (!refused.empty()) {
    Driver().control.refused.push_back(fmt::format("{}: {}", function.name, refused));
    return kInvalidValue;
  }
  Launch launch;
  launch.grid_x = static_cast<int>(grid[0]);
  launch.grid_y = static_cast<int>(grid[1]);
  launch.grid_z = static_cast<int>(grid[2]);
  launch.threads = static_cast<int>(threads);
  launch.shared_bytes = static_cast<int>(shared);
  launch.args_bytes = function.code.args_bytes;
  std::memcpy(launch.args.data(), args, static_cast<size_t>(launch.args_bytes));
  return Queue(stream, [&function, launch] {
    Driver().clock += 1;
    Ran(function.name);
    const Status ran = Driver().emulated->Run(*function.entry, function.code.lanes, launch);
    if (!ran.ok()) Driver().fault = Wrong(std::string(ran.text()), kIllegalAddress);
    if (function.name == Driver().control.fault_kernel) Driver().fault = kIllegalAddress;
  });
}

}  // namespace stand_in
}  // namespace unimax
