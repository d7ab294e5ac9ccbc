// SPDX-License-Identifier: Apache-2.0
// Products of a vendor's library beside our rows, in benches: opened at run time, with declarations of our own (the
// libraries' C interfaces: NVIDIA's "cuBLASLt API", AMD's "hipBLASLt API reference" and "rocBLAS: gemm_ex"). Its
// weights are plain, rows of K elements.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "device/device.h"
#include "kernels/table.h"
#include "kernels/tunable_op.h"
#include "kernels/tune_data.h"

namespace unimax {

class PeerGemm {
 public:
  virtual ~PeerGemm() = default;
  // "cublas", "hipblaslt" or "rocblas", for the device's vendor. `known` (may be null, else it outlives the peer):
  // solutions to try besides the library's own choice. `file`: the library's, in place of where it is looked for.
  // Errors: kUsage for another name; kNoDevice where there is no such library, or it refuses.
  static Result<std::unique_ptr<PeerGemm>> Open(const std::string& name, Device& device, const TunableFile* known,
                                                const std::string& file = "");

  virtual std::string Describe() const = 0;  // "cuBLASLt 13.1.0"
  // Makes ready for y[m, n] = x[m, k] * w[n, k]^T in c.act, y too. Gives how many ways there are, at least one and at
  // most `most`: the library's own choice first.
  virtual Result<int> Prepare(const Case& c, int most) = 0;
  virtual std::string Way(int way) const = 0;  // for people: "first choice", "solution 1234"
  // Enqueues way `way` of what was prepared last.
  virtual Status Enqueue(int way, const LinearOperands& operands) = 0;
};

}  // namespace unimax
