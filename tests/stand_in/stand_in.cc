// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/flags.h"
#include "device/cuda_driver.h"
#include "device/hip_driver.h"
#include "stand_in/state.h"

namespace unimax::stand_in {

State& Driver() {
  static State state;
  return state;
}

namespace {

bool& Current() {
  static thread_local bool current = false;
  return current;
}

}  // namespace

int Wrong(std::string what, int code) {
  Driver().control.wrong.push_back(std::move(what));
  return code;
}

namespace {

// Every call passes here first: counts, fails on order, and needs a current context unless told otherwise.
int Enter(const char* name, bool needs_context = true) {
  State& s = Driver();
  ++s.control.calls;
  ++s.control.calls_of[name];
  if (s.control.fail_at != 0 &&
      (s.control.calls == s.control.fail_at || (s.control.fail_on && s.control.calls > s.control.fail_at))) {
    if (s.control.failed.empty()) s.control.failed = name;
    return s.control.fail_code;
  }
  if (s.fault != 0) return s.fault;
  if (needs_context && !Current()) return Wrong(fmt::format("{} without a context", name), kInvalidContext);
  return 0;
}

template <class T>
T* Find(const void* handle) {
  const auto it = Driver().objects.find(handle);
  T* object = it == Driver().objects.end() ? nullptr : dynamic_cast<T*>(it->second.get());
  if (object == nullptr) Driver().control.wrong.push_back("unknown handle");
  return object;
}

// Releases even when told to fail: a failing release must not look like a leak of the caller.
int Release(const char* name, const void* handle) {
  const int code = Enter(name);
  if (Driver().objects.erase(handle) == 0) return Wrong(fmt::format("{} of an unknown handle", name), kInvalidHandle);
  Driver().control.live = Driver().objects.size() + static_cast<size_t>(Driver().contexts);
  return code;
}

// The allocation that holds [address, address + bytes), or null.
Memory* Holder(const void* address, size_t bytes) {
  const auto* at = static_cast<const std::byte*>(address);
  for (auto& [key, object] : Driver().objects) {
    auto* memory = dynamic_cast<Memory*>(object.get());
    if (memory == nullptr) continue;
    const std::byte* begin = memory->bytes.get();
    if (at >= begin && at + bytes <= begin + memory->size) return memory;
  }
  return nullptr;
}

int OnDevice(const void* address, size_t bytes) {
  const Memory* memory = Holder(address, bytes);
  if (memory != nullptr && !memory->on_host && bytes != 0) return 0;
  return Wrong(fmt::format("{} bytes outside device memory", bytes), kInvalidValue);
}

void Step(Stream* stream) {
  const Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (Driver().fault == 0) work();
}

int Drain(Stream* stream) {
  while (!stream->queue.empty()) Step(stream);
  return Driver().fault;
}

}  // namespace

void Ran(std::string what) { Driver().control.ran.push_back(std::move(what)); }
int Queue(DriverStream* handle, Work work) {
  auto* stream = Find<Stream>(handle);
  if (stream == nullptr) return kInvalidHandle;
  if (stream->capture != nullptr) {
    stream->capture->work.push_back(std::move(work));
  } else {
    stream->queue.push_back(std::move(work));
  }
  return 0;
}

namespace {

// Waiting is not allowed while the stream is recorded, and spoils the recording.
bool Capturing(Stream* stream) {
  if (stream->capture == nullptr) return false;
  stream->invalidated = true;
  return true;
}

int LaunchAs(const char* call, DriverFunction* handle, const unsigned (&grid)[3], unsigned threads, unsigned shared,
             DriverStream* stream, void** params, const char* how) {
  if (const int code = Enter(call); code != 0) return code;
  const auto* function = reinterpret_cast<const Function*>(handle);
  if (function->entry != nullptr) return LaunchEmulated(*function, grid, threads, shared, stream, params[0]);
  if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || threads == 0 || threads > 1024) return kInvalidValue;
  if (static_cast<int>(shared) > function->dynamic_shared) return kInvalidValue;
  // The arguments are copied now, as drivers do; the caller's struct may change once this returns.
  std::string text =
      fmt::format("{}{} {}x{}x{} {} {}", how, function->name, grid[0], grid[1], grid[2], threads, shared);
  const auto* args = static_cast<const unsigned char*>(params[0]);
  for (int i = 0; i < function->args_bytes; ++i) text += fmt::format("{}{:02x}", i == 0 ? " " : "", args[i]);
  const bool faults = function->name == Driver().control.fault_kernel;
  return Queue(stream, [text, faults] {
    Ran(text);
    Driver().clock += 1;
    if (faults) Driver().fault = kIllegalAddress;
  });
}

void ReadEnvironment() {
  std::istringstream settings(Environment("UNIMAX_STAND_IN"));
  StandInControl& c = Driver().control;
  const std::map<std::string, int*> names = {{"devices", &c.devices}, {"driver_version", &c.driver_version},
                                             {"major", &c.major},     {"minor", &c.minor},
                                             {"fail_at", &c.fail_at}, {"fail_code", &c.fail_code}};
  for (std::string part; std::getline(settings, part, ',');) {
    const size_t equals = part.find('=');
    const auto it = names.find(part.substr(0, equals));
    if (equals != std::string::npos && it != names.end()) *it->second = std::atoi(part.c_str() + equals + 1);
    if (part == "fail_on=1") c.fail_on = true;
    if (part.starts_with("runs=")) c.runs = part.substr(5);
  }
}

}  // namespace
}  // namespace unimax::stand_in

using namespace unimax;            // NOLINT: the functions below must have the driver's names
using namespace unimax::stand_in;  // NOLINT

extern "C" {

StandInControl* StandInGet() { return &Driver().control; }

bool StandInReset() {
  State& s = Driver();
  const bool clean = s.objects.empty() && s.contexts == 0;
  s = State();
  Current() = false;
  return clean;
}

int cuInit(unsigned) {
  ReadEnvironment();
  return Enter("cuInit", false);
}
int cuDriverGetVersion(int* version) {
  *version = Driver().control.driver_version;
  return Enter("cuDriverGetVersion", false);
}
int cuDeviceGetCount(int* count) {
  *count = Driver().control.devices;
  return Enter("cuDeviceGetCount", false);
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return Enter("cuDeviceGet", false);
}
int cuDeviceGetName(char* name, int bytes, int) {
  std::strncpy(name, "Stand-in GPU", static_cast<size_t>(bytes));
  return Enter("cuDeviceGetName", false);
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  const StandInControl& c = Driver().control;
  const std::map<int, int> values = {{kCudaWarpSize, 32},
                                     {kCudaMultiprocessorCount, 132},
                                     {kCudaL2CacheSize, 50 << 20},
                                     {kCudaCapabilityMajor, c.major},
                                     {kCudaCapabilityMinor, c.minor},
                                     {kCudaSharedMemoryOptIn, kSharedLimit}};
  const auto it = values.find(attribute);
  if (it == values.end()) return Wrong(fmt::format("attribute {}", attribute), kInvalidValue);
  *value = it->second;
  return Enter("cuDeviceGetAttribute", false);
}
int hipDeviceGetAttribute(int* value, int attribute, int) {
  const StandInControl& c = Driver().control;
  const std::map<int, int> values = {{kHipWarpSize, c.runs.starts_with("gfx1") ? 32 : 64},
                                     {kHipMultiprocessorCount, 304},
                                     {kHipL2CacheSize, 4 << 20},
                                     {kHipCapabilityMajor, c.major},
                                     {kHipCapabilityMinor, c.minor},
                                     {kHipSharedMemoryPerBlock, kHipSharedLimit}};
  const auto it = values.find(attribute);
  if (it == values.end()) return Wrong(fmt::format("attribute {}", attribute), kInvalidValue);
  *value = it->second;
  return Enter("hipDeviceGetAttribute", false);
}
// Of the struct, only the texts: the name in front and the target's.
int hipGetDevicePropertiesR0600(void* properties, int) {
  const StandInControl& c = Driver().control;
  auto* bytes = static_cast<char*>(properties);
  std::memset(bytes, 0, 1472);
  if (!c.architecture.empty()) std::strcpy(bytes, "gfx000");  // as of a card without a name of its own
  c.architecture.copy(bytes + c.architecture_at, 256);
  return Enter("hipGetDevicePropertiesR0600", false);
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = Driver().control.memory_bytes;
  return Enter("cuDeviceTotalMem_v2", false);
}

int cuDevicePrimaryCtxRetain(CudaContext** context, int) {
  if (const int code = Enter("cuDevicePrimaryCtxRetain", false); code != 0) return code;
  *context = reinterpret_cast<CudaContext*>(&Driver());
  ++Driver().contexts;
  ++Driver().control.live;
  return 0;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  const int code = Enter("cuDevicePrimaryCtxRelease_v2", false);
  if (Driver().contexts == 0) return Wrong("context released twice", kInvalidContext);
  --Driver().contexts;
  --Driver().control.live;
  return code;
}
int cuCtxSetCurrent(CudaContext* context) {
  if (const int code = Enter("cuCtxSetCurrent", false); code != 0) return code;
  Current() = context != nullptr;
  return 0;
}
int hipSetDevice(int) {
  if (const int code = Enter("hipSetDevice", false); code != 0) return code;
  Current() = true;
  return 0;
}

int cuModuleLoadData(DriverModule** module, const void* image) {
  if (const int code = Enter("cuModuleLoadData"); code != 0) return code;
  if (const size_t bytes = ElfBytes(static_cast<const unsigned char*>(image)); bytes != 0) {
    return LoadElf(module, {static_cast<const unsigned char*>(image), bytes});
  }
  std::istringstream lines(static_cast<const char*>(image));
  std::string line;
  std::getline(lines, line);
  if (!line.starts_with("stand-in code for ")) return kInvalidImage;
  if (line.substr(line.rfind(' ') + 1) != Driver().control.runs) return kWrongGpu;
  auto made = std::make_unique<Module>();
  for (Function f; lines >> f.name >> f.args_bytes >> f.static_shared;) made->functions[f.name] = f;
  Keep(std::move(made), module);
  return 0;
}
int cuModuleUnload(DriverModule* module) { return Release("cuModuleUnload", module); }
int cuModuleGetFunction(DriverFunction** function, DriverModule* handle, const char* name) {
  if (const int code = Enter("cuModuleGetFunction"); code != 0) return code;
  auto* module = Find<Module>(handle);
  if (module == nullptr) return kInvalidHandle;
  const auto it = module->functions.find(name);
  if (it == module->functions.end()) return kDriverNotFound;
  *function = reinterpret_cast<DriverFunction*>(&it->second);
  return 0;
}
int cuFuncGetAttribute(int* value, int attribute, DriverFunction* function) {
  if (attribute != kCudaFunctionSharedBytes) return Wrong("function attribute", kInvalidValue);
  *value = reinterpret_cast<const Function*>(function)->static_shared;
  return Enter("cuFuncGetAttribute");
}
int cuFuncSetAttribute(DriverFunction* handle, int attribute, int value) {
  if (const int code = Enter("cuFuncSetAttribute"); code != 0) return code;
  auto* function = reinterpret_cast<Function*>(handle);
  if (attribute != kCudaFunctionMaxDynamicSharedBytes || value < 0 || value + function->static_shared > kSharedLimit) {
    return Wrong("function attribute", kInvalidValue);
  }
  function->dynamic_shared = value;
  return 0;
}
int cuLaunchKernel(DriverFunction* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, DriverStream* stream, void** params, void** extra) {
  if (by != 1 || bz != 1 || extra != nullptr) return Wrong("launch shape", kInvalidValue);
  return LaunchAs("cuLaunchKernel", function, {gx, gy, gz}, bx, shared, stream, params, "");
}
int cuLaunchKernelEx(const CudaLaunchConfig* c, DriverFunction* function, void** params, void** extra) {
  int value = 0;
  if (c->attribute_count == 1) std::memcpy(&value, c->attributes->value, sizeof(value));
  const bool early = c->attribute_count == 1 && c->attributes->id == kCudaProgrammaticStreamSerialization && value == 1;
  if (!early || c->block_y != 1 || c->block_z != 1 || extra != nullptr) return Wrong("launch shape", kInvalidValue);
  return LaunchAs("cuLaunchKernelEx", function, {c->grid_x, c->grid_y, c->grid_z}, c->block_x, c->shared_bytes,
                  c->stream, params, "early ");
}

int StandInAllocate(void** address, size_t bytes) {
  if (const int code = Enter("cuMemAlloc_v2"); code != 0) return code;
  StandInControl& c = Driver().control;
  if (bytes == 0) return kInvalidValue;
  if (bytes > c.memory_bytes - c.used_bytes) return kDriverOutOfMemory;
  auto memory = std::make_unique<Memory>(bytes);
  void* at = memory->bytes.get();
  c.used_bytes += bytes;
  Driver().emulated->Add(at, bytes);
  Memory* kept = nullptr;
  Keep(std::move(memory), &kept);
  *address = at;
  return 0;
}
int cuMemFree_v2(void* address) {
  for (auto& [key, object] : Driver().objects) {
    if (auto* stream = dynamic_cast<Stream*>(object.get()); stream != nullptr) Drain(stream);
  }
  Memory* memory = Holder(address, 1);
  if (memory == nullptr || memory->bytes.get() != address) return Wrong("free", kInvalidValue);
  if (!memory->on_host) Driver().control.used_bytes -= memory->size;
  if (!memory->on_host) Driver().emulated->Remove(address);
  return Release("cuMemFree_v2", memory);
}
int StandInHostAllocate(void** address, size_t bytes, unsigned) {
  if (const int code = Enter("cuMemHostAlloc"); code != 0) return code;
  auto memory = std::make_unique<Memory>(bytes);
  memory->on_host = true;
  *address = memory->bytes.get();
  Memory* kept = nullptr;
  Keep(std::move(memory), &kept);
  return 0;
}
int cuMemFreeHost(void* address) { return cuMemFree_v2(address); }
int cuMemGetInfo_v2(size_t* available, size_t* total) {
  *total = Driver().control.memory_bytes;
  *available = *total - Driver().control.used_bytes;
  return Enter("cuMemGetInfo_v2");
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, DriverStream* stream) {
  if (const int code = Enter("cuMemcpyHtoDAsync_v2"); code != 0) return code;
  if (const int code = OnDevice(to, bytes); code != 0) return code;
  if (Holder(from, bytes) == nullptr) return Wrong("upload from pageable memory", kInvalidValue);
  return Queue(stream, [to, from, bytes] { std::memcpy(to, from, bytes); });
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, DriverStream* handle) {
  if (const int code = Enter("cuMemcpyDtoHAsync_v2"); code != 0) return code;
  if (const int code = OnDevice(from, bytes); code != 0) return code;
  if (const int code = Queue(handle, [to, from, bytes] { std::memcpy(to, from, bytes); }); code != 0) return code;
  // Into pageable memory drivers copy before they return.
  return Holder(to, bytes) == nullptr ? Drain(Find<Stream>(handle)) : 0;
}
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, DriverStream* stream) {
  if (const int code = Enter("cuMemcpyDtoDAsync_v2"); code != 0) return code;
  if (OnDevice(to, bytes) != 0 || OnDevice(from, bytes) != 0) return kInvalidValue;
  return Queue(stream, [to, from, bytes] {
    std::memmove(to, from, bytes);
    Ran(fmt::format("copy {}", bytes));
  });
}
int cuMemsetD8Async(void* to, unsigned char byte, size_t bytes, DriverStream* stream) {
  if (const int code = Enter("cuMemsetD8Async"); code != 0) return code;
  if (const int code = OnDevice(to, bytes); code != 0) return code;
  return Queue(stream, [to, byte, bytes] {
    std::memset(to, byte, bytes);
    Ran(fmt::format("fill {:02x} {}", byte, bytes));
  });
}

int cuStreamCreate(DriverStream** stream, unsigned) {
  if (const int code = Enter("cuStreamCreate"); code != 0) return code;
  Keep(std::make_unique<Stream>(), stream);
  return 0;
}
int cuStreamDestroy_v2(DriverStream* stream) { return Release("cuStreamDestroy_v2", stream); }
int cuStreamSynchronize(DriverStream* handle) {
  if (const int code = Enter("cuStreamSynchronize"); code != 0) return code;
  auto* stream = Find<Stream>(handle);
  if (stream == nullptr) return kInvalidHandle;
  return Capturing(stream) ? kCaptureUnsupported : Drain(stream);
}
int cuEventCreate(DriverEvent** event, unsigned) {
  if (const int code = Enter("cuEventCreate"); code != 0) return code;
  Keep(std::make_unique<Event>(), event);
  return 0;
}
int cuEventDestroy_v2(DriverEvent* event) { return Release("cuEventDestroy_v2", event); }
int cuEventRecord(DriverEvent* handle, DriverStream* stream) {
  if (const int code = Enter("cuEventRecord"); code != 0) return code;
  auto* event = Find<Event>(handle);
  if (event == nullptr) return kInvalidHandle;
  event->stream = Find<Stream>(stream);
  event->done = false;
  event->recorded = true;
  return Queue(stream, [handle, order = ++event->order] {
    auto* recorded = Find<Event>(handle);
    if (recorded == nullptr || recorded->order != order) return;
    recorded->done = true;
    recorded->time = Driver().clock;
  });
}
int cuEventSynchronize(DriverEvent* handle) {
  if (const int code = Enter("cuEventSynchronize"); code != 0) return code;
  auto* event = Find<Event>(handle);
  if (event == nullptr) return kInvalidHandle;
  while (!event->done && Driver().fault == 0 && !event->stream->queue.empty()) Step(event->stream);
  return Driver().fault;
}
int cuEventElapsedTime(float* milliseconds, DriverEvent* from, DriverEvent* to) {
  if (const int code = Enter("cuEventElapsedTime"); code != 0) return code;
  const auto *a = Find<Event>(from), *b = Find<Event>(to);
  if (a == nullptr || b == nullptr || !a->recorded || !b->recorded) return kInvalidHandle;
  *milliseconds = static_cast<float>(b->time - a->time);
  return 0;
}

int cuStreamBeginCapture_v2(DriverStream* handle, int mode) {
  if (const int code = Enter("cuStreamBeginCapture_v2"); code != 0) return code;
  auto* stream = Find<Stream>(handle);
  if (stream == nullptr || stream->capture != nullptr || mode != kCaptureRelaxed)
    return Wrong("capture", kInvalidValue);
  stream->capture = std::make_unique<GraphObject>();
  stream->invalidated = false;
  return 0;
}
int cuStreamEndCapture(DriverStream* handle, DriverGraph** graph) {
  auto* stream = Find<Stream>(handle);
  if (stream == nullptr || stream->capture == nullptr) return Wrong("end of no capture", kInvalidValue);
  auto captured = std::move(stream->capture);
  if (const int code = Enter("cuStreamEndCapture"); code != 0) return code;
  if (stream->invalidated) return kCaptureInvalidated;
  Keep(std::move(captured), graph);
  return 0;
}
int cuGraphInstantiateWithFlags(DriverGraphExec** exec, DriverGraph* handle, unsigned long long) {
  if (const int code = Enter("cuGraphInstantiateWithFlags"); code != 0) return code;
  const auto* graph = Find<GraphObject>(handle);
  if (graph == nullptr) return kInvalidHandle;
  auto made = std::make_unique<GraphObject>();
  made->work = graph->work;
  Keep(std::move(made), exec);
  return 0;
}
int cuGraphDestroy(DriverGraph* graph) { return Release("cuGraphDestroy", graph); }
int cuGraphExecDestroy(DriverGraphExec* exec) { return Release("cuGraphExecDestroy", exec); }
int cuGraphLaunch(DriverGraphExec* exec, DriverStream* stream) {
  if (const int code = Enter("cuGraphLaunch"); code != 0) return code;
  const auto* graph = Find<GraphObject>(exec);
  if (graph == nullptr) return kInvalidHandle;
  for (const Work& work : graph->work) {
    if (const int code = Queue(stream, work); code != 0) return code;
  }
  return 0;
}

const char* hipGetErrorName(int code) {
  switch (code) {
    case kInvalidValue:
      return "STAND_IN_INVALID_VALUE";
    case kDriverOutOfMemory:
      return "STAND_IN_OUT_OF_MEMORY";
    case kIllegalAddress:
      return "STAND_IN_ILLEGAL_ADDRESS";
    default:
      return "STAND_IN_ERROR";
  }
}
const char* hipGetErrorString(int code) { return code == kDriverOutOfMemory ? "out of memory" : "a fault on order"; }
int cuGetErrorName(int code, const char** name) {
  *name = hipGetErrorName(code);
  return 0;
}
int cuGetErrorString(int code, const char** text) {
  *text = hipGetErrorString(code);
  return 0;
}

// The same functions under the names of the drivers.
decltype(cuInit) hipInit __attribute__((alias("cuInit")));
decltype(cuDriverGetVersion) hipDriverGetVersion __attribute__((alias("cuDriverGetVersion")));
decltype(cuDeviceGetCount) hipGetDeviceCount __attribute__((alias("cuDeviceGetCount")));
decltype(cuDeviceGet) hipDeviceGet __attribute__((alias("cuDeviceGet")));
decltype(cuDeviceGetName) hipDeviceGetName __attribute__((alias("cuDeviceGetName")));
decltype(cuDeviceTotalMem_v2) hipDeviceTotalMem __attribute__((alias("cuDeviceTotalMem_v2")));
decltype(cuModuleLoadData) hipModuleLoadData __attribute__((alias("cuModuleLoadData")));
decltype(cuModuleUnload) hipModuleUnload __attribute__((alias("cuModuleUnload")));
decltype(cuModuleGetFunction) hipModuleGetFunction __attribute__((alias("cuModuleGetFunction")));
decltype(cuLaunchKernel) hipModuleLaunchKernel __attribute__((alias("cuLaunchKernel")));
decltype(StandInAllocate) cuMemAlloc_v2 __attribute__((alias("StandInAllocate")));
decltype(StandInAllocate) hipMalloc __attribute__((alias("StandInAllocate")));
decltype(cuMemFree_v2) hipFree __attribute__((alias("cuMemFree_v2")));
decltype(StandInHostAllocate) cuMemHostAlloc __attribute__((alias("StandInHostAllocate")));
decltype(StandInHostAllocate) hipHostMalloc __attribute__((alias("StandInHostAllocate")));
decltype(cuMemFreeHost) hipHostFree __attribute__((alias("cuMemFreeHost")));
decltype(cuMemGetInfo_v2) hipMemGetInfo __attribute__((alias("cuMemGetInfo_v2")));
decltype(cuMemcpyHtoDAsync_v2) hipMemcpyHtoDAsync __attribute__((alias("cuMemcpyHtoDAsync_v2")));
decltype(cuMemcpyDtoHAsync_v2) hipMemcpyDtoHAsync __attribute__((alias("cuMemcpyDtoHAsync_v2")));
decltype(cuMemcpyDtoDAsync_v2) hipMemcpyDtoDAsync __attribute__((alias("cuMemcpyDtoDAsync_v2")));
decltype(cuMemsetD8Async) hipMemsetD8Async __attribute__((alias("cuMemsetD8Async")));
decltype(cuStreamCreate) hipStreamCreateWithFlags __attribute__((alias("cuStreamCreate")));
decltype(cuStreamDestroy_v2) hipStreamDestroy __attribute__((alias("cuStreamDestroy_v2")));
decltype(cuStreamSynchronize) hipStreamSynchronize __attribute__((alias("cuStreamSynchronize")));
decltype(cuEventCreate) hipEventCreateWithFlags __attribute__((alias("cuEventCreate")));
decltype(cuEventDestroy_v2) hipEventDestroy __attribute__((alias("cuEventDestroy_v2")));
decltype(cuEventRecord) hipEventRecord __attribute__((alias("cuEventRecord")));
decltype(cuEventSynchronize) hipEventSynchronize __attribute__((alias("cuEventSynchronize")));
decltype(cuEventElapsedTime) hipEventElapsedTime __attribute__((alias("cuEventElapsedTime")));
decltype(cuStreamBeginCapture_v2) hipStreamBeginCapture __attribute__((alias("cuStreamBeginCapture_v2")));
decltype(cuStreamEndCapture) hipStreamEndCapture __attribute__((alias("cuStreamEndCapture")));
decltype(cuGraphInstantiateWithFlags) hipGraphInstantiateWithFlags
    __attribute__((alias("cuGraphInstantiateWithFlags")));
decltype(cuGraphDestroy) hipGraphDestroy __attribute__((alias("cuGraphDestroy")));
decltype(cuGraphLaunch) hipGraphLaunch __attribute__((alias("cuGraphLaunch")));
decltype(cuGraphExecDestroy) hipGraphExecDestroy __attribute__((alias("cuGraphExecDestroy")));

}  // extern "C"
