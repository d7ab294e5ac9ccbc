// SPDX-License-Identifier: Apache-2.0
// The part of the HIP runtime API that unimax uses and that is not in gpu_driver.h, declared from its public
// documentation (rocm.docs.amd.com/projects/HIP).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "device/gpu_driver.h"

namespace unimax {

// Results that get a remedy, or that mean that there is no AMD GPU.
inline constexpr int kHipNoDevice = 100;
inline constexpr int kHipInvalidDevice = 101;  // what counting gives without the kernel driver
inline constexpr int kHipInvalidImage = 200;
inline constexpr int kHipNoBinaryForGpu = 209;

// Device attributes: hipDeviceAttribute_t as it is since ROCm 5.
inline constexpr int kHipL2CacheSize = 19;
inline constexpr int kHipCapabilityMajor = 23;  // 9 of gfx942
inline constexpr int kHipCapabilityMinor = 61;  // 4 of gfx942
inline constexpr int kHipMultiprocessorCount = 63;
inline constexpr int kHipSharedMemoryPerBlock = 74;
inline constexpr int kHipWarpSize = 87;

// Functions without a counterpart of the same shape in the other driver.
struct HipCalls {
  int (*set_device)(int device) = nullptr;
  const char* (*error_name)(int code) = nullptr;
  const char* (*error_string)(int code) = nullptr;
  int (*properties)(void* properties, int device) = nullptr;  // hipDeviceProp_t; may be absent
};

// More than hipDeviceProp_t takes in any release (1,472 bytes in ROCm 6).
inline constexpr size_t kHipPropertiesBytes = 16 << 10;

// gcnArchName of a hipDeviceProp_t, "gfx90a:sramecc+:xnack-"; "" where there is none.
std::string HipArchitecture(std::string_view properties);

// The targets that a device of version major.minor may run, in the order given, each once: "gfx942" is 9.4 stepping 2.
// For libraries that do not tell the target's name: the caller takes the first that the driver loads.
std::vector<std::string_view> HipCandidates(int major, int minor, std::span<const std::string_view> targets);

// OpenHip with other library names and other code objects.
Result<std::unique_ptr<Device>> OpenHipFrom(std::span<const std::string> libraries, int index,
                                            std::span<const EmbeddedCode> objects);

}  // namespace unimax
