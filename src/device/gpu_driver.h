// SPDX-License-Identifier: Apache-2.0
// What the two GPU drivers have in common. Their functions differ in name only (same arguments, same meaning, 0 for
// success), so one table of pointers serves both and GpuDevice is written once over it; what does differ is virtual.
// Device addresses are void* here: both drivers pass them as 64-bit words.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "device/code_objects.h"
#include "device/device.h"

namespace unimax {

// The driver's own objects, never looked into.
struct DriverStream;
struct DriverEvent;
struct DriverModule;
struct DriverFunction;
struct DriverGraph;
struct DriverGraphExec;

struct GpuCalls {
  int (*init)(unsigned flags) = nullptr;
  int (*driver_version)(int* version) = nullptr;
  int (*device_count)(int* count) = nullptr;
  int (*device_get)(int* device, int index) = nullptr;
  int (*device_name)(char* name, int bytes, int device) = nullptr;
  int (*device_attribute)(int* value, int attribute, int device) = nullptr;
  int (*device_memory)(size_t* bytes, int device) = nullptr;

  int (*module_load)(DriverModule** module, const void* image) = nullptr;
  int (*module_unload)(DriverModule* module) = nullptr;
  int (*module_function)(DriverFunction** function, DriverModule* module, const char* name) = nullptr;
  int (*launch)(DriverFunction* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                unsigned block_y, unsigned block_z, unsigned shared_bytes, DriverStream* stream, void** params,
                void** extra) = nullptr;

  int (*allocate)(void** address, size_t bytes) = nullptr;
  int (*free)(void* address) = nullptr;
  int (*host_allocate)(void** address, size_t bytes, unsigned flags) = nullptr;  // page-locked
  int (*host_free)(void* address) = nullptr;
  int (*memory_info)(size_t* free, size_t* total) = nullptr;
  int (*copy_to_device)(void* to, const void* from, size_t bytes, DriverStream* stream) = nullptr;
  int (*copy_to_host)(void* to, const void* from, size_t bytes, DriverStream* stream) = nullptr;
  int (*copy_on_device)(void* to, const void* from, size_t bytes, DriverStream* stream) = nullptr;
  int (*fill)(void* to, unsigned char byte, size_t bytes, DriverStream* stream) = nullptr;

  int (*stream_create)(DriverStream** stream, unsigned flags) = nullptr;
  int (*stream_destroy)(DriverStream* stream) = nullptr;
  int (*stream_wait)(DriverStream* stream) = nullptr;
  int (*event_create)(DriverEvent** event, unsigned flags) = nullptr;
  int (*event_destroy)(DriverEvent* event) = nullptr;
  int (*event_record)(DriverEvent* event, DriverStream* stream) = nullptr;
  int (*event_wait)(DriverEvent* event) = nullptr;
  int (*event_elapsed)(float* milliseconds, DriverEvent* from, DriverEvent* to) = nullptr;

  int (*capture_begin)(DriverStream* stream, int mode) = nullptr;
  int (*capture_end)(DriverStream* stream, DriverGraph** graph) = nullptr;
  int (*graph_instantiate)(DriverGraphExec** exec, DriverGraph* graph, unsigned long long flags) = nullptr;
  int (*graph_destroy)(DriverGraph* graph) = nullptr;
  int (*graph_launch)(DriverGraphExec* exec, DriverStream* stream) = nullptr;
  int (*graph_exec_destroy)(DriverGraphExec* exec) = nullptr;
};

// Numbers that are the same in both drivers.
inline constexpr int kDriverOutOfMemory = 2;
inline constexpr int kDriverNotFound = 500;
inline constexpr int kDriverTooManyTogether = 720;  // blocks of a launch that must run at the same time
inline constexpr int kDriverNotSupported = 801;
inline constexpr unsigned kStreamNonBlocking = 1;  // no implicit order with the default stream
inline constexpr unsigned kEventNoTiming = 2;
inline constexpr int kCaptureRelaxed = 2;  // one stream, one thread: nothing to protect other threads from
// Errors that destroy the context, so that every later call fails with the same number: memory or link errors, illegal
// address, timeout, assertion, bad instruction, bad address, launch failure. (The numbers between mean other things.)
inline constexpr bool IsDeviceFault(int code) {
  return code == 214 || code == 220 || code == 700 || code == 702 || code == 709 || code == 710 ||
         (code >= 714 && code <= 719);
}

// An opened driver and one of its devices. Destroyed after everything that was made through it.
class GpuDriver {
 public:
  virtual ~GpuDriver() = default;
  // Makes the device current on the calling thread; cheap enough for every call.
  virtual int Bind() = 0;
  // "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
  virtual std::string ErrorName(int code) const = 0;
  // What a person can do about it, or "".
  virtual std::string_view Remedy(int code) const = 0;
  // Lets the kernel use `shared_bytes` of static and dynamic shared memory together.
  virtual int PrepareFunction(DriverFunction* function, int64_t shared_bytes) = 0;
  // Launches so that the kernel may start before the launch before it ends; plainly where the device cannot.
  virtual int LaunchOverlapping(const Launch& launch, DriverStream* stream) { return LaunchInOrder(launch, stream); }
  // Launches all blocks at the same time, or fails.
  virtual int LaunchTogether(const Launch& /*launch*/, DriverStream* /*stream*/) { return kDriverNotSupported; }
  virtual int MapMatrix(const MatrixShape& /*shape*/, MatrixMap* /*map*/) const { return kDriverNotSupported; }
  int LaunchInOrder(const Launch& launch, DriverStream* stream) const;

  // "cannot load the code object: CUDA_ERROR_NO_BINARY_FOR_GPU (...); remedy", of kind kNoDevice.
  Status Error(int code, std::string_view what) const;

  const GpuCalls& calls() const { return calls_; }

 protected:
  GpuCalls calls_;
};

// A Device over an opened driver whose device is current. Loads every one of `objects` whose target is limits.target.
Result<std::unique_ptr<Device>> OpenGpuDevice(std::unique_ptr<GpuDriver> driver, Limits limits,
                                              std::span<const EmbeddedCode> objects);

}  // namespace unimax
