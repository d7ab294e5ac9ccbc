// SPDX-License-Identifier: Apache-2.0
// What the stand-in driver knows: its objects, its one device, and what was ordered.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "device/gpu_driver.h"
#include "stand_in/emulated.h"
#include "stand_in/stand_in.h"

namespace unimax::stand_in {

inline constexpr int kInvalidValue = 1, kInvalidContext = 201, kInvalidImage = 200, kWrongGpu = 209,
                     kInvalidHandle = 400;
inline constexpr int kIllegalAddress = 700, kCaptureUnsupported = 900, kCaptureInvalidated = 901;
inline constexpr int kSharedLimit = 232448, kHipSharedLimit = 64 << 10;

using Work = std::function<void()>;

struct Object {
  virtual ~Object() = default;
};
struct Memory : Object {
  explicit Memory(size_t n) : bytes(std::make_unique_for_overwrite<std::byte[]>(n)), size(n) {}
  std::unique_ptr<std::byte[]> bytes;  // never cleared: drivers do not either
  size_t size;
  bool on_host = false;
};
struct Function {
  std::string name;
  int args_bytes = 0, static_shared = 0, dynamic_shared = 48 << 10;
  // Of a real code object.
  KernelCode code;
  const EmulatorEntry* entry = nullptr;
};
struct Module : Object {
  std::map<std::string, Function> functions;
};
struct GraphObject : Object {
  std::vector<Work> work;
};
struct Stream : Object {
  std::deque<Work> queue;
  std::unique_ptr<GraphObject> capture;
  bool invalidated = false;
};
struct Event : Object {
  Stream* stream = nullptr;
  bool done = true, recorded = false;
  uint64_t order = 0;  // counts records, so that an old record does not end a newer one
  double time = 0;
};

struct State {
  StandInControl control;
  std::map<const void*, std::unique_ptr<Object>> objects;
  std::unique_ptr<EmulatedGpu> emulated = std::make_unique<EmulatedGpu>();
  int contexts = 0;
  int fault = 0;
  double clock = 0;  // milliseconds; a kernel takes one
};

State& Driver();
// Notes a misuse and returns the code.
int Wrong(std::string what, int code);
void Ran(std::string what);
int Queue(DriverStream* handle, Work work);

template <class T, class Handle>
void Keep(std::unique_ptr<T> object, Handle** handle) {
  *handle = reinterpret_cast<Handle*>(object.get());
  const void* key = object.get();
  Driver().objects[key] = std::move(object);
  Driver().control.live = Driver().objects.size() + static_cast<size_t>(Driver().contexts);
}

// A real code object, and a launch of one of its kernels.
int LoadElf(DriverModule** module, std::span<const unsigned char> image);
int LaunchEmulated(const Function& function, const unsigned (&grid)[3], unsigned threads, unsigned shared,
                   DriverStream* stream, const void* args);

}  // namespace unimax::stand_in
