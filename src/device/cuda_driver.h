// SPDX-License-Identifier: Apache-2.0
// The part of the CUDA driver API that unimax uses and that is not in gpu_driver.h, declared from its public
// documentation (docs.nvidia.com/cuda/cuda-driver-api), so that neither a header nor a library of NVIDIA is needed to
// build. All of it is plain C: 64-bit words, ints and pointers, so the declarations only have to agree in size and
// order.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "device/gpu_driver.h"

namespace unimax {

// Results that get a remedy (the full list is the driver's own: cuGetErrorName tells the name of any).
inline constexpr int kCudaStubLibrary = 34;
inline constexpr int kCudaDevicesUnavailable = 46;
inline constexpr int kCudaNoDevice = 100;
inline constexpr int kCudaNoBinaryForGpu = 209;
inline constexpr int kCudaEccUncorrectable = 214;
inline constexpr int kCudaUnsupportedPtxVersion = 222;
inline constexpr int kCudaSystemNotReady = 802;
inline constexpr int kCudaSystemDriverMismatch = 803;
inline constexpr int kCudaCompatNotSupported = 804;
inline constexpr int kCudaUnknown = 999;

// Device attributes.
inline constexpr int kCudaWarpSize = 10;
inline constexpr int kCudaMultiprocessorCount = 16;
inline constexpr int kCudaL2CacheSize = 38;
inline constexpr int kCudaCapabilityMajor = 75;
inline constexpr int kCudaCapabilityMinor = 76;
inline constexpr int kCudaSharedMemoryOptIn = 97;  // bytes a block may have, static and dynamic together

// Function attributes.
inline constexpr int kCudaFunctionSharedBytes = 1;  // static shared memory, read only
inline constexpr int kCudaFunctionMaxDynamicSharedBytes = 8;

// A launch attribute: a number, padding, and 64 bytes whose meaning depends on the number.
inline constexpr int kCudaProgrammaticStreamSerialization = 6;  // value: int, 1 lets the launch start early
inline constexpr int kCudaCooperative = 2;                      // value: int, 1 wants all blocks at the same time
struct CudaLaunchAttribute {
  int id = 0;
  char padding[4] = {};
  alignas(8) unsigned char value[64] = {};
};

struct CudaLaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  DriverStream* stream;
  CudaLaunchAttribute* attributes;
  unsigned attribute_count;
};

// What cuTensorMapEncodeTiled is asked for: 16-bit elements, as they lie, in rows of 128 bytes whose 16-byte chunks are
// swizzled; fetched into L2 256 bytes at a time; zeros outside.
inline constexpr int kCudaMapElements = 1, kCudaMapPlain = 0, kCudaMapSwizzle = 3, kCudaMapFetch = 3, kCudaMapZeros = 0;

struct CudaContext;

// Functions without a counterpart of the same shape in the other driver.
struct CudaCalls {
  int (*context_retain)(CudaContext** context, int device) = nullptr;
  int (*context_release)(int device) = nullptr;
  int (*context_set_current)(CudaContext* context) = nullptr;
  int (*function_get)(int* value, int attribute, DriverFunction* function) = nullptr;
  int (*function_set)(DriverFunction* function, int attribute, int value) = nullptr;
  int (*launch_ex)(const CudaLaunchConfig* config, DriverFunction* function, void** params, void** extra) = nullptr;
  int (*map_encode)(MatrixMap* map, int type, unsigned rank, void* address, const unsigned long long* sizes,
                    const unsigned long long* strides, const unsigned* box, const unsigned* steps, int interleave,
                    int swizzle, int promotion, int fill) = nullptr;
  int (*error_name)(int code, const char** name) = nullptr;
  int (*error_string)(int code, const char** text) = nullptr;
};

// Code objects are built by CUDA 13, whose first driver series is 580.
inline constexpr int kCudaNeeded = 13000;
inline constexpr std::string_view kCudaNeededText = "unimax needs a driver of version 580 or newer (CUDA 13.0)";

// The code object for a device of compute capability major.minor, or an error that names what is carried: "sm_90a"
// runs on 9.0 alone, "sm_80" on every 8.x, "compute_80" (PTX) on 8.0 and everything newer. Native code goes first, and
// the newest of it.
Result<std::string_view> PickCudaTarget(int major, int minor, std::span<const std::string_view> targets);

// "580.95.05" of the text of /proc/driver/nvidia/version; "" when there is no such number.
std::string CudaDriverRelease(std::string_view text);

// OpenCuda with another library and other code objects.
Result<std::unique_ptr<Device>> OpenCudaFrom(const std::string& library, int index,
                                             std::span<const EmbeddedCode> objects);

}  // namespace unimax
