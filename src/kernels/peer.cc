// SPDX-License-Identifier: Apache-2.0
#include "kernels/peer.h"

#include <array>
#include <cstring>
#include <vector>

#include "device/driver_library.h"

namespace unimax {
namespace {

constexpr size_t kWorkspaceBytes = 32 << 20;  // what the vendors advise for Hopper and MI300
constexpr float kOne = 1, kZero = 0;

// Objects of the libraries, never looked into.
struct Handle;
struct Operation;
struct Layout;
struct Preference;

// Two libraries with one interface but for names and numbers.
struct LtLibrary {
  const char* name;    // as OpenPeer takes it
  const char* title;   // for people
  const char* prefix;  // of the functions
  std::array<const char*, 5> files;
  int transpose;                    // of the operations' enumeration
  int f32, f16, bf16, compute_f32;  // types
  int transpose_a;                  // attribute of an operation
  size_t choice_bytes;              // of a choice, which stands first in a result
  size_t result_bytes;
};
constexpr LtLibrary kLibraries[] = {
    {"cublas",
     "cuBLASLt",
     "cublasLt",
     {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so",
      "/usr/local/cuda/lib/libcublasLt.so", "libcublasLt.so"},
     1,
     0,
     2,
     14,
     68,
     3,
     64,
     96},
    {"hipblaslt",
     "hipBLASLt",
     "hipblasLt",
     {"libhipblaslt.so.1", "libhipblaslt.so.0", "/opt/rocm/lib/libhipblaslt.so", "libhipblaslt.so", ""},
     112,
     0,
     2,
     14,
     2,
     0,
     24,
     56}};
constexpr int kWorkspaceAttribute = 1;  // of a preference, in both

Result<DriverLibrary> OpenLibrary(const char* title, std::span<const char* const> files, const std::string& given) {
  std::vector<std::string> names;
  if (!given.empty()) files = {};
  if (!given.empty()) names.push_back(given);
  for (const char* file : files) {
    if (*file != '\0') names.emplace_back(file);
  }
  Result<DriverLibrary> library = DriverLibrary::Open(names);
  if (library.ok()) return library;
  return NoDevice("no {} to compare with: {} (its folder must be in LD_LIBRARY_PATH)", title, library.status().text());
}

class LtPeer : public PeerGemm {
 public:
  LtPeer(const LtLibrary& own, DriverLibrary library, Device& device)
      : own_(own), library_(std::move(library)), device_(device) {}
  LtPeer(const LtPeer&) = delete;
  LtPeer& operator=(const LtPeer&) = delete;
  ~LtPeer() override {
    Forget();
    if (preference_ != nullptr) preference_destroy_(preference_);
    if (handle_ != nullptr) destroy_(handle_);
  }

  Status Start() {
    Need("Create", create_);
    Need("Destroy", destroy_);
    Need("MatmulDescCreate", operation_create_);
    Need("MatmulDescDestroy", operation_destroy_);
    Need("MatmulDescSetAttribute", operation_set_);
    Need("MatrixLayoutCreate", layout_create_);
    Need("MatrixLayoutDestroy", layout_destroy_);
    Need("MatmulPreferenceCreate", preference_create_);
    Need("MatmulPreferenceDestroy", preference_destroy_);
    Need("MatmulPreferenceSetAttribute", preference_set_);
    Need("MatmulAlgoGetHeuristic", choose_);
    Need("Matmul", matmul_);
    if (!library_.missing().empty()) return NoDevice("{} lacks {}", own_.title, library_.missing());
    size_t (*version)() = nullptr;
    library_.Want(fmt::format("{}GetVersion", own_.prefix).c_str(), version);
    // Of the one library a function without arguments; the other's wants the handle.
    if (version != nullptr && own_.choice_bytes == 64) version_ = version();
    UM_RETURN_IF_ERROR(device_.Synchronize());  // makes the device the calling thread's
    UM_RETURN_IF_ERROR(Check(create_(&handle_), "make a handle"));
    UM_RETURN_IF_ERROR(Check(preference_create_(&preference_), "make a preference"));
    const uint64_t bytes = kWorkspaceBytes;
    UM_RETURN_IF_ERROR(
        Check(preference_set_(preference_, kWorkspaceAttribute, &bytes, sizeof(bytes)), "set a preference"));
    UM_ASSIGN_OR_RETURN(workspace_, device_.Allocate(kWorkspaceBytes, "workspace of the vendor's product"));
    return {};
  }

  std::string Describe() const override {
    if (version_ == 0) return own_.title;
    return fmt::format("{} {}.{}.{}", own_.title, version_ / 10000, version_ / 100 % 100, version_ % 100);
  }

  Result<int> Prepare(const Case& c, int most) override {
    Forget();
    const int type = c.act == DType::kF32 ? own_.f32 : c.act == DType::kF16 ? own_.f16 : own_.bf16;
    const auto m = static_cast<uint64_t>(c.m), n = static_cast<uint64_t>(c.n), k = static_cast<uint64_t>(c.k);
    UM_RETURN_IF_ERROR(Check(operation_create_(&operation_, own_.compute_f32, own_.f32), "describe a product"));
    const int32_t transpose = own_.transpose;
    UM_RETURN_IF_ERROR(
        Check(operation_set_(operation_, own_.transpose_a, &transpose, sizeof(transpose)), "describe a product"));
    // Matrices are by columns there: c[n, m] = w^T x, where w is [k, n] and x [k, m].
    UM_RETURN_IF_ERROR(Check(layout_create_(&w_, type, k, n, c.k), "describe the weights"));
    UM_RETURN_IF_ERROR(Check(layout_create_(&x_, type, k, m, c.k), "describe the rows"));
    UM_RETURN_IF_ERROR(Check(layout_create_(&y_, type, n, m, c.n), "describe the result"));
    results_.assign(own_.result_bytes * static_cast<size_t>(most), 0);
    int found = 0;
    UM_RETURN_IF_ERROR(
        Check(choose_(handle_, operation_, w_, x_, y_, y_, preference_, most, results_.data(), &found), "choose"));
    int usable = 0;
    while (usable < found && StateOf(usable) == 0 && WorkspaceOf(usable) <= kWorkspaceBytes) ++usable;
    if (usable < 1) return NoDevice("{} has no way to do m={} n={} k={}", own_.title, c.m, c.n, c.k);
    return usable;
  }

  std::string Way(int way) const override {
    return way == 0 ? std::string("first choice") : fmt::format("choice {}", way + 1);
  }

  Status Enqueue(int way, const LinearOperands& at) override {
    return Check(matmul_(handle_, operation_, &kOne, at.w, w_, at.x, x_, &kZero, at.y, y_, at.y, y_, ResultAt(way),
                         workspace_.data(), WorkspaceOf(way), device_.stream()),
                 "multiply");
  }

 private:
  template <class F>
  void Need(const char* name, F*& function) {
    library_.Need(fmt::format("{}{}", own_.prefix, name).c_str(), function);
  }
  Status Check(int code, const char* what) const {
    return code == 0 ? Status() : NoDevice("{} cannot {}: its status is {}", own_.title, what, code);
  }
  void Forget() {
    if (operation_ != nullptr) operation_destroy_(operation_);
    for (Layout** layout : {&w_, &x_, &y_}) {
      if (*layout != nullptr) layout_destroy_(*layout);
      *layout = nullptr;
    }
    operation_ = nullptr;
  }
  const std::byte* ResultAt(int way) const {
    return reinterpret_cast<const std::byte*>(results_.data()) + static_cast<size_t>(way) * own_.result_bytes;
  }
  size_t WorkspaceOf(int way) const {
    size_t bytes = 0;
    std::memcpy(&bytes, ResultAt(way) + own_.choice_bytes, sizeof(bytes));
    return bytes;
  }
  int StateOf(int way) const {
    int state = 0;
    std::memcpy(&state, ResultAt(way) + own_.choice_bytes + sizeof(size_t), sizeof(state));
    return state;
  }

  const LtLibrary& own_;
  DriverLibrary library_;
  Device& device_;
  size_t version_ = 0;
  Handle* handle_ = nullptr;
  Operation* operation_ = nullptr;
  Layout *w_ = nullptr, *x_ = nullptr, *y_ = nullptr;
  Preference* preference_ = nullptr;
  std::vector<uint8_t> results_;
  Buffer workspace_;

  int (*create_)(Handle**) = nullptr;
  int (*destroy_)(Handle*) = nullptr;
  int (*operation_create_)(Operation**, int compute, int scale) = nullptr;
  int (*operation_destroy_)(Operation*) = nullptr;
  int (*operation_set_)(Operation*, int attribute, const void* value, size_t bytes) = nullptr;
  int (*layout_create_)(Layout**, int type, uint64_t rows, uint64_t columns, int64_t stride) = nullptr;
  int (*layout_destroy_)(Layout*) = nullptr;
  int (*preference_create_)(Preference**) = nullptr;
  int (*preference_destroy_)(Preference*) = nullptr;
  int (*preference_set_)(Preference*, int attribute, const void* value, size_t bytes) = nullptr;
  int (*choose_)(Handle*, Operation*, Layout* a, Layout* b, Layout* c, Layout* d, Preference*, int most, void* results,
                 int* found) = nullptr;
  int (*matmul_)(Handle*, Operation*, const void* alpha, const void* a, Layout*, const void* b, Layout*,
                 const void* beta, const void* c, Layout*, void* d, Layout*, const void* choice, void* workspace,
                 size_t bytes, void* stream) = nullptr;
};

class RocblasPeer : public PeerGemm {
 public:
  RocblasPeer(DriverLibrary library, Device& device, const TunableFile* known)
      : library_(std::move(library)), device_(device), known_(known) {}
  RocblasPeer(const RocblasPeer&) = delete;
  RocblasPeer& operator=(const RocblasPeer&) = delete;
  ~RocblasPeer() override {
    if (handle_ != nullptr) destroy_(handle_);
  }

  Status Start() {
    library_.Need("rocblas_create_handle", create_);
    library_.Need("rocblas_destroy_handle", destroy_);
    library_.Need("rocblas_set_stream", set_stream_);
    library_.Need("rocblas_gemm_ex", gemm_);
    if (!library_.missing().empty()) return NoDevice("rocBLAS lacks {}", library_.missing());
    UM_RETURN_IF_ERROR(device_.Synchronize());
    UM_RETURN_IF_ERROR(Check(create_(&handle_), "make a handle"));
    return Check(set_stream_(handle_, device_.stream()), "take the device's stream");
  }

  std::string Describe() const override { return "rocBLAS"; }

  // Its own choice, then a solution that TunableOp has found.
  Result<int> Prepare(const Case& c, int most) override {
    case_ = c;
    solution_ = 0;
    const TunableResult* found = known_ == nullptr ? nullptr : known_->FindLinear(c.act, c.m, c.n, c.k);
    if (found == nullptr || most < 2) return 1;
    const TunableSolution solution = found->parsed();
    if (solution.library != TunableSolution::kRocblas || solution.index == 0) return 1;
    solution_ = static_cast<int>(solution.index);
    return 2;
  }

  std::string Way(int way) const override {
    return way == 0 ? std::string("own choice") : fmt::format("solution {}", solution_);
  }

  Status Enqueue(int way, const LinearOperands& at) override {
    constexpr int kNone = 111, kTranspose = 112, kF16 = 150, kF32 = 151, kBF16 = 168;
    const int type = case_.act == DType::kF32 ? kF32 : case_.act == DType::kF16 ? kF16 : kBF16;
    const int by_solution = way == 0 ? 0 : 1;
    return Check(
        gemm_(handle_, kTranspose, kNone, case_.n, case_.m, case_.k, &kOne, at.w, type, case_.k, at.x, type, case_.k,
              &kZero, at.y, type, case_.n, at.y, type, case_.n, kF32, by_solution, way == 0 ? 0 : solution_, 0),
        "multiply");
  }

 private:
  static Status Check(int code, const char* what) {
    return code == 0 ? Status() : NoDevice("rocBLAS cannot {}: its status is {}", what, code);
  }

  DriverLibrary library_;
  Device& device_;
  const TunableFile* known_;
  Case case_;
  int solution_ = 0;
  Handle* handle_ = nullptr;
  int (*create_)(Handle**) = nullptr;
  int (*destroy_)(Handle*) = nullptr;
  int (*set_stream_)(Handle*, void*) = nullptr;
  int (*gemm_)(Handle*, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const void* a,
               int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, const void* c, int c_type,
               int ldc, void* d, int d_type, int ldd, int compute, int by_solution, int32_t solution,
               uint32_t flags) = nullptr;
};

}  // namespace

Result<std::unique_ptr<PeerGemm>> PeerGemm::Open(const std::string& name, Device& device, const TunableFile* known,
                                                 const std::string& file) {
  for (const LtLibrary& own : kLibraries) {
    if (name != own.name) continue;
    UM_ASSIGN_OR_RETURN(DriverLibrary library, OpenLibrary(own.title, own.files, file));
    auto peer = std::make_unique<LtPeer>(own, std::move(library), device);
    UM_RETURN_IF_ERROR(peer->Start());
    return std::unique_ptr<PeerGemm>(std::move(peer));
  }
  if (name != "rocblas") return UsageError("--peer {}: give cublas, hipblaslt or rocblas", name);
  constexpr const char* kFiles[] = {"librocblas.so.5", "librocblas.so.4", "librocblas.so.0",
                                    "/opt/rocm/lib/librocblas.so", "librocblas.so"};
  UM_ASSIGN_OR_RETURN(DriverLibrary library, OpenLibrary("rocBLAS", kFiles, file));
  auto peer = std::make_unique<RocblasPeer>(std::move(library), device, known);
  UM_RETURN_IF_ERROR(peer->Start());
  return std::unique_ptr<PeerGemm>(std::move(peer));
}

}  // namespace unimax
