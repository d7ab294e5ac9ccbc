// SPDX-License-Identifier: Apache-2.0
// A stand-in for the libraries libcuda.so.1 and libamdhip64.so, for tests: one device in host memory whose stream
// really is asynchronous (queued work runs only when somebody waits for it), with faults on order and a record of what
// ran. Code objects are texts: "stand-in code for sm_90a" and then a line "name argument_bytes static_shared_bytes" a
// kernel; or real ones for AMD GPUs, whose launches are checked against their metadata and run on the emulator.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace unimax {

struct StandInControl {
  // What is there. Also set by UNIMAX_STAND_IN="devices=0,driver_version=12040" when a process starts the driver.
  int driver_version = 13000;
  int devices = 1;
  int major = 9, minor = 0;          // the device's version
  std::string runs = "sm_90a";       // code objects for other targets are refused
  std::string architecture;          // AMD: what the properties tell, "" nothing
  int architecture_at = 1160;        // where in the properties; 396 before ROCm 6
  size_t memory_bytes = 64'000'000;  // of the device
  // Faults on order.
  int fail_at = 0;           // the n-th call fails; 0: none
  int fail_code = 999;       // with this number
  bool fail_on = false;      // and so does every call after it
  std::string fault_kernel;  // running it is an illegal address: every later call fails with 700
  // What happened.
  int calls = 0;
  std::map<std::string, int> calls_of;  // by the name of the CUDA function
  std::string failed;                   // the call that was made to fail
  std::vector<std::string> ran;         // kernels, fills and copies on the device, in the order they ran
  std::vector<std::string> refused;     // launches and code objects that the metadata forbids, and why
  std::vector<std::string> wrong;       // misuse: unknown handles, memory outside allocations
  size_t used_bytes = 0;                // device memory
  size_t live = 0;                      // objects made and not yet destroyed, contexts included
};

}  // namespace unimax

// Exported by the library: the control block, and back to the state after loading (false: objects are still alive).
extern "C" unimax::StandInControl* StandInGet();
extern "C" bool StandInReset();
