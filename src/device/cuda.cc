// SPDX-License-Identifier: Apache-2.0
#include "device/cuda.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "device/cuda_driver.h"
#include "device/driver_library.h"

namespace unimax {
namespace {

// "sm_90a" is native code of 9.0 with features that no other device has.
struct Target {
  bool native = false, exact = false;
  int major = 0, minor = 0;
};

// False for what is no CUDA target at all ("gfx942").
bool ParseTarget(std::string_view text, Target* target) {
  if (text.starts_with("sm_")) {
    target->native = true;
    text.remove_prefix(3);
  } else if (text.starts_with("compute_")) {
    text.remove_prefix(8);
  } else {
    return false;
  }
  if (text.ends_with('a')) {
    target->exact = true;
    text.remove_suffix(1);
  }
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 10) return false;
  target->major = number / 10;
  target->minor = number % 10;
  return true;
}

// How well a target suits a device: 0 not at all, else larger is better.
int Suitability(const Target& t, int major, int minor) {
  const bool same = t.major == major && t.minor == minor;
  if (t.exact) return same ? (t.native ? 4000 : 2000) : 0;
  const bool older = t.major < major || (t.major == major && t.minor <= minor);
  if (!older || (t.native && t.major != major)) return 0;
  return (t.native ? 3000 : 1000) + t.major * 10 + t.minor;
}

class CudaDriver : public GpuDriver {
 public:
  explicit CudaDriver(DriverLibrary library) : library_(std::move(library)) {}
  CudaDriver(const CudaDriver&) = delete;
  CudaDriver& operator=(const CudaDriver&) = delete;
  ~CudaDriver() override {
    if (context_ != nullptr) own_.context_release(device_);
  }
  Status Resolve();
  Status Start();
  Result<Limits> Open(int index, std::span<const EmbeddedCode> objects);

  int Bind() override { return own_.context_set_current(context_); }
  std::string ErrorName(int code) const override;
  std::string_view Remedy(int code) const override;
  int PrepareFunction(DriverFunction* function, int64_t shared_bytes) override;
  int LaunchOverlapping(const Launch& launch, DriverStream* stream) override {
    return can_overlap_ ? LaunchWith(kCudaProgrammaticStreamSerialization, launch, stream)
                        : LaunchInOrder(launch, stream);
  }
  int MapMatrix(const MatrixShape& shape, MatrixMap* map) const override;
  int LaunchTogether(const Launch& launch, DriverStream* stream) override {
    return own_.launch_ex != nullptr ? LaunchWith(kCudaCooperative, launch, stream) : kDriverNotSupported;
  }

 private:
  int LaunchWith(int attribute, const Launch& launch, DriverStream* stream);
  Result<int> Attribute(int attribute) const;

  DriverLibrary library_;
  CudaCalls own_;
  CudaContext* context_ = nullptr;
  int device_ = 0;
  bool can_overlap_ = false;
};

Status CudaDriver::Resolve() {
  GpuCalls& c = calls_;
  library_.Need("cuInit", c.init);
  library_.Need("cuDriverGetVersion", c.driver_version);
  library_.Need("cuDeviceGetCount", c.device_count);
  library_.Need("cuDeviceGet", c.device_get);
  library_.Need("cuDeviceGetName", c.device_name);
  library_.Need("cuDeviceGetAttribute", c.device_attribute);
  library_.Need("cuDeviceTotalMem_v2", c.device_memory);
  library_.Need("cuModuleLoadData", c.module_load);
  library_.Need("cuModuleUnload", c.module_unload);
  library_.Need("cuModuleGetFunction", c.module_function);
  library_.Need("cuLaunchKernel", c.launch);
  library_.Need("cuMemAlloc_v2", c.allocate);
  library_.Need("cuMemFree_v2", c.free);
  library_.Need("cuMemHostAlloc", c.host_allocate);
  library_.Need("cuMemFreeHost", c.host_free);
  library_.Need("cuMemGetInfo_v2", c.memory_info);
  library_.Need("cuMemcpyHtoDAsync_v2", c.copy_to_device);
  library_.Need("cuMemcpyDtoHAsync_v2", c.copy_to_host);
  library_.Need("cuMemcpyDtoDAsync_v2", c.copy_on_device);
  library_.Need("cuMemsetD8Async", c.fill);
  library_.Need("cuStreamCreate", c.stream_create);
  library_.Need("cuStreamDestroy_v2", c.stream_destroy);
  library_.Need("cuStreamSynchronize", c.stream_wait);
  library_.Need("cuEventCreate", c.event_create);
  library_.Need("cuEventDestroy_v2", c.event_destroy);
  library_.Need("cuEventRecord", c.event_record);
  library_.Need("cuEventSynchronize", c.event_wait);
  library_.Need("cuEventElapsedTime", c.event_elapsed);
  library_.Need("cuStreamBeginCapture_v2", c.capture_begin);
  library_.Need("cuStreamEndCapture", c.capture_end);
  library_.Need("cuGraphInstantiateWithFlags", c.graph_instantiate);
  library_.Need("cuGraphDestroy", c.graph_destroy);
  library_.Need("cuGraphLaunch", c.graph_launch);
  library_.Need("cuGraphExecDestroy", c.graph_exec_destroy);
  library_.Need("cuDevicePrimaryCtxRetain", own_.context_retain);
  library_.Need("cuDevicePrimaryCtxRelease_v2", own_.context_release);
  library_.Need("cuCtxSetCurrent", own_.context_set_current);
  library_.Need("cuFuncGetAttribute", own_.function_get);
  library_.Need("cuFuncSetAttribute", own_.function_set);
  library_.Want("cuLaunchKernelEx", own_.launch_ex);
  library_.Want("cuTensorMapEncodeTiled", own_.map_encode);
  library_.Need("cuGetErrorName", own_.error_name);
  library_.Need("cuGetErrorString", own_.error_string);
  if (library_.missing().empty()) return Status();
  return NoDevice("the NVIDIA driver's library lacks {}; {}", library_.missing(), kCudaNeededText);
}

std::string CudaDriver::ErrorName(int code) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (own_.error_name(code, &name) != 0 || name == nullptr) return fmt::format("CUDA error {}", code);
  if (own_.error_string(code, &text) != 0 || text == nullptr) return name;
  return fmt::format("{} ({})", name, text);
}

std::string_view CudaDriver::Remedy(int code) const {
  switch (code) {
    case kCudaStubLibrary:
      return "the library found is the one for linking, not the driver: correct LD_LIBRARY_PATH";
    case kCudaDevicesUnavailable:
      return "another process holds the GPU for itself alone: see nvidia-smi";
    case kCudaNoDevice:
      return "the driver shows no GPU to this process: see nvidia-smi and CUDA_VISIBLE_DEVICES";
    case kCudaNoBinaryForGpu:
      return "this binary was built without code for this GPU";
    case kCudaEccUncorrectable:
      return "the GPU's memory is damaged: reset the GPU or restart the machine";
    case kCudaUnsupportedPtxVersion:
      return kCudaNeededText;
    case kCudaSystemNotReady:
      return "is nvidia-fabricmanager running?";
    case kCudaSystemDriverMismatch:
      return "the driver was updated under a running system: restart the machine";
    case kCudaCompatNotSupported:
      return "remove the CUDA compatibility library from the library path";
    case kCudaUnknown:
      return "are the device files there (nvidia-modprobe, or --gpus of the container)?";
    default:
      return "";
  }
}

Status CudaDriver::Start() {
  if (const int code = calls_.init(0); code != 0) return Error(code, "cannot start the NVIDIA driver");
  int version = 0;
  if (const int code = calls_.driver_version(&version); code != 0) return Error(code, "cannot ask for the version");
  if (version >= kCudaNeeded) return Status();
  return NoDevice("the NVIDIA driver supports CUDA {}.{}; {}", version / 1000, version % 1000 / 10, kCudaNeededText);
}

Result<int> CudaDriver::Attribute(int attribute) const {
  int value = 0;
  const int code = calls_.device_attribute(&value, attribute, device_);
  if (code != 0) return Error(code, fmt::format("cannot read attribute {} of the GPU", attribute));
  return value;
}

Result<Limits> CudaDriver::Open(int index, std::span<const EmbeddedCode> objects) {
  int count = 0;
  if (const int code = calls_.device_count(&count); code != 0) return Error(code, "cannot count the GPUs");
  if (count == 0) return NoDevice("the NVIDIA driver shows no GPU to this process");
  if (index < 0 || index >= count)
    return NoDevice("there is no device cuda:{}; the last one is cuda:{}", index, count - 1);
  if (const int code = calls_.device_get(&device_, index); code != 0) return Error(code, "cannot choose the GPU");

  Limits limits;
  char name[256] = {};
  if (const int code = calls_.device_name(name, sizeof(name) - 1, device_); code != 0) {
    return Error(code, "cannot ask for the GPU's name");
  }
  limits.name = name;
  UM_ASSIGN_OR_RETURN(const int major, Attribute(kCudaCapabilityMajor));
  UM_ASSIGN_OR_RETURN(const int minor, Attribute(kCudaCapabilityMinor));
  std::vector<std::string_view> targets;
  for (const EmbeddedCode& object : objects) targets.emplace_back(object.target);
  const Result<std::string_view> target = PickCudaTarget(major, minor, targets);
  if (!target.ok()) return target.status().At(limits.name);
  limits.target = *target;
  UM_ASSIGN_OR_RETURN(limits.multiprocessors, Attribute(kCudaMultiprocessorCount));
  UM_ASSIGN_OR_RETURN(limits.lanes, Attribute(kCudaWarpSize));
  UM_ASSIGN_OR_RETURN(limits.shared_bytes_per_block, Attribute(kCudaSharedMemoryOptIn));
  UM_ASSIGN_OR_RETURN(limits.l2_bytes, Attribute(kCudaL2CacheSize));
  limits.tile_cols = 8;
  can_overlap_ = major >= 9 && own_.launch_ex != nullptr;

  if (const int code = own_.context_retain(&context_, device_); code != 0) {
    context_ = nullptr;
    return Error(code, fmt::format("cannot open {}", limits.name));
  }
  if (const int code = Bind(); code != 0) return Error(code, "cannot make the GPU current");
  size_t available = 0, total = 0;
  if (const int code = calls_.memory_info(&available, &total); code != 0) {
    return Error(code, "cannot ask for the GPU's memory");
  }
  limits.free_bytes = static_cast<int64_t>(available);
  limits.memory_bytes = static_cast<int64_t>(total);

  std::ifstream file("/proc/driver/nvidia/version");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  limits.driver = CudaDriverRelease(text);
  if (limits.driver.empty()) {
    int version = 0;
    if (const int code = calls_.driver_version(&version); code != 0) return Error(code, "cannot ask for the version");
    limits.driver = fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
  }
  return limits;
}

int CudaDriver::PrepareFunction(DriverFunction* function, int64_t shared_bytes) {
  // The limit counts static and dynamic memory together, the attribute only the dynamic part.
  int used = 0;
  if (const int code = own_.function_get(&used, kCudaFunctionSharedBytes, function); code != 0) return code;
  return own_.function_set(function, kCudaFunctionMaxDynamicSharedBytes, static_cast<int>(shared_bytes) - used);
}

int CudaDriver::MapMatrix(const MatrixShape& shape, MatrixMap* map) const {
  if (own_.map_encode == nullptr) return kDriverNotSupported;
  const auto u = [](int value) { return static_cast<unsigned>(value); };
  const unsigned long long sizes[] = {u(shape.cols), u(shape.rows)}, strides[] = {2ull * u(shape.stride)};
  const unsigned box[] = {64, u(shape.box_rows)}, steps[] = {1, 1};
  return own_.map_encode(map, kCudaMapElements, 2, const_cast<void*>(shape.first), sizes, strides, box, steps,
                         kCudaMapPlain, kCudaMapSwizzle, kCudaMapFetch, kCudaMapZeros);
}

int CudaDriver::LaunchWith(int number, const Launch& launch, DriverStream* stream) {
  CudaLaunchAttribute attribute;
  attribute.id = number;
  const int on = 1;
  std::memcpy(attribute.value, &on, sizeof(on));
  const auto u = [](int value) { return static_cast<unsigned>(value); };
  const CudaLaunchConfig config = {u(launch.grid_x),
                                   u(launch.grid_y),
                                   u(launch.grid_z),
                                   u(launch.threads),
                                   1,
                                   1,
                                   u(launch.shared_bytes),
                                   stream,
                                   &attribute,
                                   1};
  void* params[] = {const_cast<std::byte*>(launch.args.data())};
  return own_.launch_ex(&config, static_cast<DriverFunction*>(const_cast<void*>(launch.kernel.handle)), params,
                        nullptr);
}

}  // namespace

Result<std::string_view> PickCudaTarget(int major, int minor, std::span<const std::string_view> targets) {
  std::string_view best;
  int best_score = 0;
  std::string carried;
  for (const std::string_view text : targets) {
    Target target;
    if (!ParseTarget(text, &target)) continue;
    if (carried.find(text) == std::string::npos) carried += fmt::format("{}{}", carried.empty() ? "" : ", ", text);
    const int score = Suitability(target, major, minor);
    if (score > best_score) {
      best = text;
      best_score = score;
    }
  }
  if (best_score > 0) return best;
  return NoDevice("no code object for compute capability {}.{}; this binary carries {}", major, minor,
                  carried.empty() ? "none for NVIDIA GPUs" : carried);
}

std::string CudaDriverRelease(std::string_view text) {
  const auto is_part = [](char c) { return (c >= '0' && c <= '9') || c == '.'; };
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && is_part(text[end])) ++end;
    const std::string_view word = text.substr(begin, end - begin);
    // A release stands alone between spaces: "x86_64" must not count.
    const bool alone = (begin == 0 || text[begin - 1] == ' ') && (end == text.size() || text[end] == ' ');
    if (alone && word.find('.') != std::string_view::npos && word.size() >= 3) return std::string(word);
    begin = end + 1;
  }
  return "";
}

Result<std::unique_ptr<Device>> OpenCudaFrom(const std::string& library, int index,
                                             std::span<const EmbeddedCode> objects) {
  Result<DriverLibrary> opened = DriverLibrary::Open({&library, 1});
  if (!opened.ok()) return NoDevice("no NVIDIA driver ({})", opened.status().text());
  auto driver = std::make_unique<CudaDriver>(std::move(opened).value());
  UM_RETURN_IF_ERROR(driver->Resolve());
  UM_RETURN_IF_ERROR(driver->Start());
  UM_ASSIGN_OR_RETURN(Limits limits, driver->Open(index, objects));
  return OpenGpuDevice(std::move(driver), std::move(limits), objects);
}

Result<std::unique_ptr<Device>> OpenCuda(int index) {
  return OpenCudaFrom("libcuda.so.1", index, EmbeddedCodeObjects());
}

}  // namespace unimax
