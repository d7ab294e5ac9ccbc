// SPDX-License-Identifier: Apache-2.0
#include "device/hip.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "device/driver_library.h"
#include "device/hip_driver.h"
#include "device/hip_targets.h"

namespace unimax {
namespace {

class HipDriver : public GpuDriver {
 public:
  explicit HipDriver(DriverLibrary library) : library_(std::move(library)) {}
  Status Resolve();
  Result<Limits> Open(int index, std::span<const EmbeddedCode> objects);

  int Bind() override { return own_.set_device(device_); }
  std::string ErrorName(int code) const override;
  std::string_view Remedy(int code) const override;
  // All shared memory of a block is there without asking.
  int PrepareFunction(DriverFunction* /*function*/, int64_t /*shared_bytes*/) override { return 0; }

 private:
  Result<int> Attribute(int attribute) const;
  Result<std::string> Architecture() const;
  Result<std::string_view> PickTarget(const std::string& name, std::span<const EmbeddedCode> objects);

  DriverLibrary library_;
  HipCalls own_;
  int device_ = 0;
};

Status HipDriver::Resolve() {
  GpuCalls& c = calls_;
  library_.Need("hipInit", c.init);
  library_.Need("hipDriverGetVersion", c.driver_version);
  library_.Need("hipGetDeviceCount", c.device_count);
  library_.Need("hipDeviceGet", c.device_get);
  library_.Need("hipDeviceGetName", c.device_name);
  library_.Need("hipDeviceGetAttribute", c.device_attribute);
  library_.Need("hipDeviceTotalMem", c.device_memory);
  library_.Need("hipModuleLoadData", c.module_load);
  library_.Need("hipModuleUnload", c.module_unload);
  library_.Need("hipModuleGetFunction", c.module_function);
  library_.Need("hipModuleLaunchKernel", c.launch);
  library_.Need("hipMalloc", c.allocate);
  library_.Need("hipFree", c.free);
  library_.Need("hipHostMalloc", c.host_allocate);
  library_.Need("hipHostFree", c.host_free);
  library_.Need("hipMemGetInfo", c.memory_info);
  library_.Need("hipMemcpyHtoDAsync", c.copy_to_device);
  library_.Need("hipMemcpyDtoHAsync", c.copy_to_host);
  library_.Need("hipMemcpyDtoDAsync", c.copy_on_device);
  library_.Need("hipMemsetD8Async", c.fill);
  library_.Need("hipStreamCreateWithFlags", c.stream_create);
  library_.Need("hipStreamDestroy", c.stream_destroy);
  library_.Need("hipStreamSynchronize", c.stream_wait);
  library_.Need("hipEventCreateWithFlags", c.event_create);
  library_.Need("hipEventDestroy", c.event_destroy);
  library_.Need("hipEventRecord", c.event_record);
  library_.Need("hipEventSynchronize", c.event_wait);
  library_.Need("hipEventElapsedTime", c.event_elapsed);
  library_.Need("hipStreamBeginCapture", c.capture_begin);
  library_.Need("hipStreamEndCapture", c.capture_end);
  library_.Need("hipGraphInstantiateWithFlags", c.graph_instantiate);
  library_.Need("hipGraphDestroy", c.graph_destroy);
  library_.Need("hipGraphLaunch", c.graph_launch);
  library_.Need("hipGraphExecDestroy", c.graph_exec_destroy);
  library_.Need("hipSetDevice", own_.set_device);
  library_.Need("hipGetErrorName", own_.error_name);
  library_.Need("hipGetErrorString", own_.error_string);
  library_.Want("hipGetDevicePropertiesR0600", own_.properties);  // since ROCm 6
  if (own_.properties == nullptr) library_.Want("hipGetDeviceProperties", own_.properties);
  if (library_.missing().empty()) return Status();
  return NoDevice("the AMD driver's library lacks {}; unimax needs ROCm 5.3 or newer", library_.missing());
}

std::string HipDriver::ErrorName(int code) const {
  const char* name = own_.error_name(code);
  const char* text = own_.error_string(code);
  if (name == nullptr) return fmt::format("HIP error {}", code);
  return text == nullptr ? std::string(name) : fmt::format("{} ({})", name, text);
}

std::string_view HipDriver::Remedy(int code) const {
  switch (code) {
    case kHipNoDevice:
    case kHipInvalidDevice:
      return "may this user read and write /dev/kfd and /dev/dri (groups render and video)?";
    case kHipNoBinaryForGpu:
      return "this binary was built without code for this GPU";
    default:
      return "";
  }
}

Result<int> HipDriver::Attribute(int attribute) const {
  int value = 0;
  const int code = calls_.device_attribute(&value, attribute, device_);
  if (code != 0) return Error(code, fmt::format("cannot read attribute {} of the GPU", attribute));
  return value;
}

// The device's own name for its target; "" where the library does not tell.
Result<std::string> HipDriver::Architecture() const {
  if (own_.properties == nullptr) return std::string();
  std::vector<char> properties(kHipPropertiesBytes);
  if (const int code = own_.properties(properties.data(), device_); code != 0) {
    return Error(code, "cannot ask for the GPU's properties");
  }
  return HipArchitecture({properties.data(), properties.size()});
}

Result<std::string_view> HipDriver::PickTarget(const std::string& name, std::span<const EmbeddedCode> objects) {
  UM_ASSIGN_OR_RETURN(const std::string architecture, Architecture());
  if (!architecture.empty()) {
    for (const EmbeddedCode& object : objects) {
      if (object.target == HipTargetName(architecture)) return std::string_view(object.target);
    }
    return NoDevice("{}: no code object for {}", name, architecture);
  }
  // An older library: try what the version allows.
  UM_ASSIGN_OR_RETURN(const int major, Attribute(kHipCapabilityMajor));
  UM_ASSIGN_OR_RETURN(const int minor, Attribute(kHipCapabilityMinor));
  std::vector<std::string_view> targets;
  for (const EmbeddedCode& object : objects) targets.emplace_back(object.target);
  std::string tried;
  for (const std::string_view target : HipCandidates(major, minor, targets)) {
    const auto object = std::find_if(objects.begin(), objects.end(), [&](const auto& o) { return o.target == target; });
    DriverModule* module = nullptr;
    const int code = calls_.module_load(&module, object->begin);
    if (code == 0) {
      if (const int unload = calls_.module_unload(module); unload != 0) return Error(unload, "cannot unload code");
      return target;
    }
    if (code != kHipNoBinaryForGpu && code != kHipInvalidImage) {
      return Error(code, fmt::format("cannot load the code object for {}", target));
    }
    tried += fmt::format(" ({} was refused)", target);
  }
  return NoDevice("{}: no code object for a GPU of version {}.{}{}", name, major, minor, tried);
}

Result<Limits> HipDriver::Open(int index, std::span<const EmbeddedCode> objects) {
  if (const int code = calls_.init(0); code == kHipNoDevice || code == kHipInvalidDevice) {
    return NoDevice("no AMD GPU; {}", Remedy(code));
  } else if (code != 0) {
    return Error(code, "cannot start the AMD driver");
  }
  int count = 0;
  if (const int code = calls_.device_count(&count); code == kHipNoDevice || code == kHipInvalidDevice || count == 0) {
    return NoDevice("no AMD GPU; {}", Remedy(kHipNoDevice));
  } else if (code != 0) {
    return Error(code, "cannot count the AMD GPUs");
  }
  if (index < 0 || index >= count)
    return NoDevice("there is no device hip:{}; the last one is hip:{}", index, count - 1);
  if (const int code = calls_.device_get(&device_, index); code != 0) return Error(code, "cannot choose the GPU");
  if (const int code = Bind(); code != 0) return Error(code, "cannot make the GPU current");

  Limits limits;
  char name[256] = {};
  if (const int code = calls_.device_name(name, sizeof(name) - 1, device_); code != 0) {
    return Error(code, "cannot ask for the GPU's name");
  }
  limits.name = name;
  UM_ASSIGN_OR_RETURN(limits.target, PickTarget(limits.name, objects));
  UM_ASSIGN_OR_RETURN(limits.multiprocessors, Attribute(kHipMultiprocessorCount));
  UM_ASSIGN_OR_RETURN(limits.lanes, Attribute(kHipWarpSize));
  UM_ASSIGN_OR_RETURN(limits.shared_bytes_per_block, Attribute(kHipSharedMemoryPerBlock));
  UM_ASSIGN_OR_RETURN(limits.l2_bytes, Attribute(kHipL2CacheSize));
  SetHipTiles(limits);
  size_t available = 0, total = 0;
  if (const int code = calls_.memory_info(&available, &total); code != 0) {
    return Error(code, "cannot ask for the GPU's memory");
  }
  limits.free_bytes = static_cast<int64_t>(available);
  limits.memory_bytes = static_cast<int64_t>(total);
  int version = 0;
  if (const int code = calls_.driver_version(&version); code != 0) return Error(code, "cannot ask for the version");
  limits.driver = fmt::format("HIP {}.{}.{}", version / 10'000'000, version / 100'000 % 100, version % 100'000);
  return limits;
}

}  // namespace

std::string HipArchitecture(std::string_view properties) {
  // The struct's layout differs between releases, so the text is looked for. It is the last one that is a target's
  // name: a card without a name of its own is called like its target, in front.
  std::string_view found;
  for (size_t at = properties.find("gfx"); at != std::string_view::npos; at = properties.find("gfx", at + 3)) {
    const std::string_view text = properties.substr(at, properties.substr(at).find('\0'));
    const std::string_view name = HipTargetName(text);
    const bool digits = name.find_first_not_of("0123456789abcdef", 3) == std::string_view::npos;
    const bool begins = at == 0 || std::isalnum(static_cast<unsigned char>(properties[at - 1])) == 0;
    if (begins && name.size() >= 6 && digits) found = text;
  }
  return std::string(found);
}

std::vector<std::string_view> HipCandidates(int major, int minor, std::span<const std::string_view> targets) {
  std::vector<std::string_view> result;
  for (const std::string_view target : targets) {
    // gfx, the major version in decimal, one hexadecimal digit each for the minor version and the stepping.
    if (!target.starts_with("gfx") || target.size() < 6) continue;
    const std::string_view digits = target.substr(3);
    const char* const split = digits.data() + digits.size() - 2;
    int target_major = 0, target_minor = 0;
    const auto first = std::from_chars(digits.data(), split, target_major);
    const auto second = std::from_chars(split, split + 1, target_minor, 16);
    if (first.ec != std::errc() || first.ptr != split || second.ec != std::errc()) continue;
    const bool known = std::find(result.begin(), result.end(), target) != result.end();
    if (target_major == major && target_minor == minor && !known) result.push_back(target);
  }
  return result;
}

Result<std::unique_ptr<Device>> OpenHipFrom(std::span<const std::string> libraries, int index,
                                            std::span<const EmbeddedCode> objects) {
  Result<DriverLibrary> opened = DriverLibrary::Open(libraries);
  if (!opened.ok()) return NoDevice("no AMD driver ({})", opened.status().text());
  auto driver = std::make_unique<HipDriver>(std::move(opened).value());
  UM_RETURN_IF_ERROR(driver->Resolve());
  UM_ASSIGN_OR_RETURN(Limits limits, driver->Open(index, objects));
  return OpenGpuDevice(std::move(driver), std::move(limits), objects);
}

Result<std::unique_ptr<Device>> OpenHip(int index) {
  // The unversioned name comes with development packages only.
  const std::string libraries[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"};
  return OpenHipFrom(libraries, index, EmbeddedCodeObjects());
}

}  // namespace unimax
