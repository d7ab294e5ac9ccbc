// SPDX-License-Identifier: Apache-2.0
// The data over which rows of the kernel table are measured against each other (tune.h): random, made on the device, as
// often as it takes to leave no cache warm.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/device.h"
#include "kernels/table.h"

namespace unimax {

// Values of some elements of an output.
struct TuneSample {
  std::vector<size_t> at;
  std::vector<double> values;
};

// What a Linear reads and writes.
struct LinearOperands {
  const void* x;
  const void* w;
  void* y;
};

class TuneData {
 public:
  virtual ~TuneData() = default;
  // Whether there is data for such an op: for Linear and Attention, the only ones with several rows for a case.
  static bool Has(OpKind op) { return op == OpKind::kLinear || op == OpKind::kAttention; }
  // Bytes of a set: the weights of a Linear, the keys and values of Attention, which no step finds in a cache.
  static double SetBytes(const Case& c);
  // Activations are there once, since in a step they have just been written. Errors: of the device.
  static Result<std::unique_ptr<TuneData>> Make(Device& device, const Case& c, int sets, uint64_t seed);

  // The row's launch over set `set`, all of which write the same output.
  virtual Result<Launch> LaunchOn(const Row& row, int set) = 0;
  // The reference at some elements of the output of set 0, in double over what the device holds: all of it at small
  // shapes, else rows and columns from one end to the other.
  virtual Result<TuneSample> Reference() = 0;
  // Of a Linear, for a peer: the bytes of the weights taken as plain rows, and the reference of that, without bias,
  // activation or residual.
  virtual LinearOperands Operands(int /*set*/) { return {}; }
  virtual Result<TuneSample> PlainReference() { return TuneSample{}; }
  // Before a launch that is looked at: what an earlier one has left is gone, and the output is NaN.
  Status Reset();
  Result<std::vector<double>> Output();

 protected:
  TuneData(Device& device, const Case& c) : device_(device), case_(c) {}
  Result<Buffer> Random(DType type, int64_t count, uint64_t seed, float scale);
  Result<std::vector<double>> Fetch(DType type, const std::byte* from, int64_t count);
  int ElementBytes() const { return Info(case_.act).block_bytes; }

  Device& device_;
  Case case_;
  Buffer output_;
  Buffer partial_, counters_;  // of sums that blocks share
  DType output_type_ = DType::kF32;
};

}  // namespace unimax
