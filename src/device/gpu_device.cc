// SPDX-License-Identifier: Apache-2.0
// The Device of both GPU drivers (gpu_driver.h). One stream; every call binds the device to the calling thread first,
// so that the object may be handed from the thread that opened it to the thread that uses it.
#include <algorithm>
#include <map>
#include <set>

#include "device/gpu_driver.h"
#include "device/staging_ring.h"

namespace unimax {
namespace {

constexpr size_t kSmallBytes = 64 << 10;  // transfers up to this take a slot of their own and never wait for the device
constexpr int kSmallSlots = 32;           // more than the inputs of two steps
constexpr size_t kLargeBytes = 8 << 20;   // a chunk long enough to hide the start of a transfer and of its writers
constexpr int kLargeSlots = 4;
constexpr int kPoison = 0xA5;
constexpr int kRememberedLaunches = 6;

std::string Gigabytes(size_t bytes) {
  if (bytes < 10'000'000) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) * 1e-9);
}

class GpuGraph : public Graph {
 public:
  GpuGraph(GpuDriver* driver, DriverGraphExec* exec, const char* label) : driver_(driver), exec_(exec), label_(label) {}
  GpuGraph(const GpuGraph&) = delete;
  GpuGraph& operator=(const GpuGraph&) = delete;
  ~GpuGraph() override {
    driver_->Bind();
    driver_->calls().graph_exec_destroy(exec_);
  }
  DriverGraphExec* exec() const { return exec_; }
  const char* label() const { return label_; }

 private:
  GpuDriver* driver_;
  DriverGraphExec* exec_;
  const char* label_;
};

class GpuDevice : public Device {
 public:
  GpuDevice(std::unique_ptr<GpuDriver> driver, Limits limits)
      : driver_(std::move(driver)),
        limits_(std::move(limits)),
        small_(std::make_unique<StagingRing>(driver_.get(), kSmallBytes, kSmallSlots)),
        large_(std::make_unique<StagingRing>(driver_.get(), kLargeBytes, kLargeSlots)) {}
  GpuDevice(const GpuDevice&) = delete;
  GpuDevice& operator=(const GpuDevice&) = delete;
  ~GpuDevice() override;
  Status Init(std::span<const EmbeddedCode> objects);

  const Limits& limits() const override { return limits_; }
  Result<Buffer> Allocate(size_t bytes, std::string_view label) override;
  void Free(void* address) override;
  Status Upload(void* to, const void* from, size_t bytes) override;
  Status UploadPieces(void* to, size_t bytes, const PieceWriter& write) override;
  Status Download(void* to, const void* from, size_t bytes) override;
  Status Fetch(int slot, const void* from, size_t bytes) override;
  Result<const std::byte*> Fetched(int slot) override;
  Status Fill(void* to, int byte, size_t bytes) override;
  Status Copy(void* to, const void* from, size_t bytes) override;
  Result<Kernel> FindKernel(std::string_view name) override;
  Status Run(const Launch& launch) override;
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& record) override;
  Status Run(const Graph& graph) override;
  Result<MatrixMap> MapMatrix(const MatrixShape& shape) override;
  void* stream() const override { return stream_; }
  Status Synchronize() override;
  Status Mark(int slot) override;
  Result<double> Milliseconds(int from, int to) override;

 private:
  const GpuCalls& calls() const { return driver_->calls(); }
  // Success, or the error with what was attempted; a fault of the device names the launches that may have caused it.
  template <class... A>
  Status Check(int code, fmt::format_string<A...> what, A&&... a) const {
    return code == 0 ? Status() : Failure(code, fmt::format(what, std::forward<A>(a)...));
  }
  Status Failure(int code, const std::string& what) const;
  Status OutsideCapture(std::string_view what);  // binds too
  Status BindThread() { return Check(driver_->Bind(), "cannot make the GPU current"); }
  void Remember(const char* name);
  const char* Keep(std::string text) { return names_.insert(std::move(text)).first->c_str(); }

  std::unique_ptr<GpuDriver> driver_;  // first member: destroyed last
  Limits limits_;
  DriverStream* stream_ = nullptr;
  std::unique_ptr<StagingRing> small_, large_;
  std::vector<DriverModule*> modules_;
  std::map<std::string, DriverFunction*, std::less<>> kernels_;  // nodes never move: Kernel::name points into the key
  std::set<std::string> names_;                                  // labels of graphs
  std::array<const char*, kRememberedLaunches> last_{};          // names of the last launches, a ring
  uint64_t launches_ = 0;
  bool capturing_ = false;
  int recorded_ = 0;  // launches in the running Capture, the first and the newest of them
  const char *first_recorded_ = "", *newest_recorded_ = "";
  std::array<DriverEvent*, kMarks> marks_{};
  std::array<DriverEvent*, kFetches> fetched_{};
  std::byte* fetches_ = nullptr;  // [kFetches, kFetchBytes], page-locked, from the first Fetch on
};

GpuDevice::~GpuDevice() {
  // The results below are dropped: after a fault each of these calls reports that fault again.
  driver_->Bind();
  if (stream_ != nullptr) calls().stream_wait(stream_);
  small_.reset();
  large_.reset();
  for (DriverEvent* event : marks_) {
    if (event != nullptr) calls().event_destroy(event);
  }
  for (DriverEvent* event : fetched_) {
    if (event != nullptr) calls().event_destroy(event);
  }
  if (fetches_ != nullptr) calls().host_free(fetches_);
  for (DriverModule* module : modules_) calls().module_unload(module);
  if (stream_ != nullptr) calls().stream_destroy(stream_);
}

Status GpuDevice::Init(std::span<const EmbeddedCode> objects) {
  UM_RETURN_IF_ERROR(Check(calls().stream_create(&stream_, kStreamNonBlocking), "cannot make a stream"));
  for (const EmbeddedCode& object : objects) {
    if (object.target != limits_.target) continue;
    DriverModule* module = nullptr;
    const int code = calls().module_load(&module, object.begin);
    UM_RETURN_IF_ERROR(Check(code, "cannot load the code object {} for {}", object.name, object.target));
    modules_.push_back(module);
  }
  return Status();
}

Status GpuDevice::Failure(int code, const std::string& what) const {
  const Status error = driver_->Error(code, what);
  if (!IsDeviceFault(code)) return error;
  const uint64_t known = std::min<uint64_t>(launches_, kRememberedLaunches);
  if (known == 0) return NoDevice("{}; nothing was launched before", error.text());
  std::string names;
  for (uint64_t i = launches_ - known; i < launches_; ++i) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", last_[i % kRememberedLaunches]);
  }
  return NoDevice("{}; last launches, newest last: {}", error.text(), names);
}

Status GpuDevice::OutsideCapture(std::string_view what) {
  if (capturing_) return Internal("{} inside Capture: only launches, fills and copies can be recorded", what);
  return BindThread();
}

void GpuDevice::Remember(const char* name) {
  if (!capturing_) {
    last_[launches_++ % kRememberedLaunches] = name;
    return;
  }
  if (recorded_++ == 0) first_recorded_ = name;
  newest_recorded_ = name;
}

Result<Buffer> GpuDevice::Allocate(size_t bytes, std::string_view label) {
  UM_RETURN_IF_ERROR(OutsideCapture("Allocate"));
  if (bytes == 0) return Buffer();
  void* address = nullptr;
  const int code = calls().allocate(&address, bytes);
  if (code == kDriverOutOfMemory) {
    size_t available = 0, total = 0;
    UM_RETURN_IF_ERROR(Check(calls().memory_info(&available, &total), "cannot ask for the free memory"));
    return NoDevice("cannot allocate {} for {} on {}: {}; {} of {} are free", Gigabytes(bytes), label, limits_.name,
                    driver_->ErrorName(code), Gigabytes(available), Gigabytes(total));
  }
  UM_RETURN_IF_ERROR(Check(code, "cannot allocate {} for {}", Gigabytes(bytes), label));
  Buffer buffer(this, address, bytes);
  UM_RETURN_IF_ERROR(Check(calls().fill(address, kPoison, bytes, stream_), "cannot fill {}", label));
  return buffer;
}

void GpuDevice::Free(void* address) {
  driver_->Bind();
  // A failure here is a fault that the next call reports in full; there is nobody to tell in a destructor.
  calls().free(address);
}

Status GpuDevice::Upload(void* to, const void* from, size_t bytes) {
  return UploadPieces(to, bytes, [from](std::byte* slot, size_t first, size_t count) {
    std::memcpy(slot, static_cast<const std::byte*>(from) + first, count);
  });
}

Status GpuDevice::UploadPieces(void* to, size_t bytes, const PieceWriter& write) {
  UM_RETURN_IF_ERROR(OutsideCapture("Upload"));
  StagingRing& ring = bytes <= kSmallBytes ? *small_ : *large_;
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, ring.slot_bytes());
    std::byte* slot = nullptr;
    UM_RETURN_IF_ERROR(Check(ring.Acquire(&slot), "cannot get page-locked memory for an upload"));
    write(slot, done, part);
    const int code = calls().copy_to_device(static_cast<std::byte*>(to) + done, slot, part, stream_);
    UM_RETURN_IF_ERROR(Check(code, "cannot upload {}", Gigabytes(bytes)));
    UM_RETURN_IF_ERROR(Check(ring.Release(stream_), "cannot follow an upload of {}", Gigabytes(bytes)));
    done += part;
  }
  return Status();
}

Status GpuDevice::Download(void* to, const void* from, size_t bytes) {
  UM_RETURN_IF_ERROR(OutsideCapture("Download"));
  if (bytes > kSmallBytes) {  // the driver stages these itself
    UM_RETURN_IF_ERROR(Check(calls().copy_to_host(to, from, bytes, stream_), "cannot download {}", Gigabytes(bytes)));
    return Check(calls().stream_wait(stream_), "cannot download {}", Gigabytes(bytes));
  }
  std::byte* slot = nullptr;
  UM_RETURN_IF_ERROR(Check(small_->Acquire(&slot), "cannot get page-locked memory for a download"));
  if (bytes != 0) {
    UM_RETURN_IF_ERROR(Check(calls().copy_to_host(slot, from, bytes, stream_), "cannot download {} bytes", bytes));
  }
  // The wait also frees the slot, so that it needs no Release.
  UM_RETURN_IF_ERROR(Check(calls().stream_wait(stream_), "cannot download {} bytes", bytes));
  if (bytes != 0) std::memcpy(to, slot, bytes);
  return Status();
}

Status GpuDevice::Fetch(int slot, const void* from, size_t bytes) {
  UM_CHECK(slot >= 0 && slot < kFetches && bytes <= kFetchBytes);
  UM_RETURN_IF_ERROR(OutsideCapture("Fetch"));
  if (fetches_ == nullptr) {
    void* memory = nullptr;
    UM_RETURN_IF_ERROR(
        Check(calls().host_allocate(&memory, kFetchBytes * kFetches, 0), "cannot get page-locked memory for results"));
    fetches_ = static_cast<std::byte*>(memory);
  }
  DriverEvent*& event = fetched_[static_cast<size_t>(slot)];
  if (event == nullptr) {
    UM_RETURN_IF_ERROR(Check(calls().event_create(&event, kEventNoTiming), "cannot make an event for results"));
  }
  if (bytes != 0) {
    std::byte* to = fetches_ + static_cast<size_t>(slot) * kFetchBytes;
    UM_RETURN_IF_ERROR(Check(calls().copy_to_host(to, from, bytes, stream_), "cannot fetch {} bytes", bytes));
  }
  return Check(calls().event_record(event, stream_), "cannot follow the fetching of {} bytes", bytes);
}

Result<const std::byte*> GpuDevice::Fetched(int slot) {
  UM_CHECK(slot >= 0 && slot < kFetches);
  UM_RETURN_IF_ERROR(OutsideCapture("Fetched"));
  DriverEvent* event = fetched_[static_cast<size_t>(slot)];
  if (event == nullptr) return Internal("nothing was fetched into slot {}", slot);
  UM_RETURN_IF_ERROR(Check(calls().event_wait(event), "a launch failed on {}", limits_.name));
  return static_cast<const std::byte*>(fetches_ + static_cast<size_t>(slot) * kFetchBytes);
}

Status GpuDevice::Fill(void* to, int byte, size_t bytes) {
  UM_RETURN_IF_ERROR(BindThread());
  if (bytes == 0) return Status();
  return Check(calls().fill(to, static_cast<unsigned char>(byte), bytes, stream_), "cannot fill {}", Gigabytes(bytes));
}

Status GpuDevice::Copy(void* to, const void* from, size_t bytes) {
  UM_RETURN_IF_ERROR(BindThread());
  if (bytes == 0) return Status();
  return Check(calls().copy_on_device(to, from, bytes, stream_), "cannot copy {}", Gigabytes(bytes));
}

Result<Kernel> GpuDevice::FindKernel(std::string_view name) {
  UM_RETURN_IF_ERROR(BindThread());
  if (const auto found = kernels_.find(name); found != kernels_.end()) {
    return Kernel{found->second, found->first.c_str()};
  }
  const std::string key(name);
  for (DriverModule* module : modules_) {
    DriverFunction* function = nullptr;
    const int code = calls().module_function(&function, module, key.c_str());
    if (code == kDriverNotFound) continue;
    UM_RETURN_IF_ERROR(Check(code, "cannot look for kernel {}", name));
    const int prepared = driver_->PrepareFunction(function, limits_.shared_bytes_per_block);
    UM_RETURN_IF_ERROR(Check(prepared, "cannot give kernel {} its shared memory", name));
    const auto it = kernels_.emplace(key, function).first;
    return Kernel{function, it->first.c_str()};
  }
  return Internal("the code objects for {} have no kernel {}", limits_.target, name);
}

Status GpuDevice::Run(const Launch& launch) {
  UM_RETURN_IF_ERROR(BindThread());
  if (launch.kernel.handle == nullptr) return Internal("a launch without a kernel");
  Remember(launch.kernel.name);
  const int code = launch.together  ? driver_->LaunchTogether(launch, stream_)
                   : launch.overlap ? driver_->LaunchOverlapping(launch, stream_)
                                    : driver_->LaunchInOrder(launch, stream_);
  if (launch.together && (code == kDriverTooManyTogether || code == kDriverNotSupported)) {
    return UsageError("{} cannot run all {} blocks of {} at the same time", limits_.name, launch.grid_x,
                      launch.kernel.name);
  }
  return Check(code, "cannot launch {} (grid {} x {} x {}, {} threads, {} bytes of shared memory)", launch.kernel.name,
               launch.grid_x, launch.grid_y, launch.grid_z, launch.threads, launch.shared_bytes);
}

Result<MatrixMap> GpuDevice::MapMatrix(const MatrixShape& shape) {
  UM_RETURN_IF_ERROR(BindThread());
  MatrixMap map;
  const int code = driver_->MapMatrix(shape, &map);
  UM_RETURN_IF_ERROR(Check(code, "cannot map a matrix of {} x {} elements", shape.rows, shape.cols));
  return map;
}

Result<std::unique_ptr<Graph>> GpuDevice::Capture(const std::function<Status()>& record) {
  UM_RETURN_IF_ERROR(OutsideCapture("Capture"));
  UM_RETURN_IF_ERROR(Check(calls().capture_begin(stream_, kCaptureRelaxed), "cannot begin to record launches"));
  DriverGraph* graph = nullptr;
  recorded_ = 0;
  capturing_ = true;
  Status recorded = record();
  capturing_ = false;
  const int ended = calls().capture_end(stream_, &graph);
  if (!recorded.ok() || ended != 0) {
    if (graph != nullptr) calls().graph_destroy(graph);
    return recorded.ok() ? Failure(ended, "cannot end the recording of launches") : recorded;
  }
  DriverGraphExec* exec = nullptr;
  const int code = calls().graph_instantiate(&exec, graph, 0);
  calls().graph_destroy(graph);
  UM_RETURN_IF_ERROR(Check(code, "cannot make a graph of {} launches", recorded_));
  const char* label =
      Keep(fmt::format("graph of {} launches ({} ... {})", recorded_, first_recorded_, newest_recorded_));
  return std::unique_ptr<Graph>(std::make_unique<GpuGraph>(driver_.get(), exec, label));
}

Status GpuDevice::Run(const Graph& graph) {
  UM_RETURN_IF_ERROR(BindThread());
  const GpuGraph& own = static_cast<const GpuGraph&>(graph);
  Remember(own.label());
  return Check(calls().graph_launch(own.exec(), stream_), "cannot launch the {}", own.label());
}

Status GpuDevice::Synchronize() {
  UM_RETURN_IF_ERROR(OutsideCapture("Synchronize"));
  return Check(calls().stream_wait(stream_), "a launch failed on {}", limits_.name);
}

Status GpuDevice::Mark(int slot) {
  UM_CHECK(slot >= 0 && slot < kMarks);
  UM_RETURN_IF_ERROR(OutsideCapture("Mark"));
  DriverEvent*& event = marks_[static_cast<size_t>(slot)];
  if (event == nullptr) UM_RETURN_IF_ERROR(Check(calls().event_create(&event, 0), "cannot make mark {}", slot));
  return Check(calls().event_record(event, stream_), "cannot set mark {}", slot);
}

Result<double> GpuDevice::Milliseconds(int from, int to) {
  UM_CHECK(from >= 0 && from < kMarks && to >= 0 && to < kMarks);
  UM_RETURN_IF_ERROR(OutsideCapture("Milliseconds"));
  DriverEvent* begin = marks_[static_cast<size_t>(from)];
  DriverEvent* end = marks_[static_cast<size_t>(to)];
  if (begin == nullptr || end == nullptr) return Internal("mark {} was never set", begin == nullptr ? from : to);
  UM_RETURN_IF_ERROR(Check(calls().event_wait(end), "cannot wait for mark {}", to));
  float milliseconds = 0;
  const int code = calls().event_elapsed(&milliseconds, begin, end);
  UM_RETURN_IF_ERROR(Check(code, "cannot tell the time between marks {} and {}", from, to));
  return static_cast<double>(milliseconds);
}

}  // namespace

int GpuDriver::LaunchInOrder(const Launch& launch, DriverStream* stream) const {
  // The driver reads the arguments before it returns and never writes them; only its signature is not const.
  void* params[] = {const_cast<std::byte*>(launch.args.data())};
  const auto u = [](int value) { return static_cast<unsigned>(value); };
  auto* function = static_cast<DriverFunction*>(const_cast<void*>(launch.kernel.handle));
  return calls_.launch(function, u(launch.grid_x), u(launch.grid_y), u(launch.grid_z), u(launch.threads), 1, 1,
                       u(launch.shared_bytes), stream, params, nullptr);
}

Status GpuDriver::Error(int code, std::string_view what) const {
  const std::string_view remedy = Remedy(code);
  return NoDevice("{}: {}{}{}", what, ErrorName(code), remedy.empty() ? "" : "; ", remedy);
}

Result<std::unique_ptr<Device>> OpenGpuDevice(std::unique_ptr<GpuDriver> driver, Limits limits,
                                              std::span<const EmbeddedCode> objects) {
  auto device = std::make_unique<GpuDevice>(std::move(driver), std::move(limits));
  UM_RETURN_IF_ERROR(device->Init(objects));
  return std::unique_ptr<Device>(std::move(device));
}

}  // namespace unimax
