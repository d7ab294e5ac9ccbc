// SPDX-License-Identifier: Apache-2.0
// What products make up for the layer norm before them with (kernels/gpu/norm_fold.h), found once for each product and
// shared by the kernels that take such norms in.
#pragma once

#include <array>
#include <functional>
#include <map>

#include "device/device.h"
#include "program/program.h"

namespace unimax {

struct NormFold {
  const float* slope;
  const float* bias;  // in place of the product's own
};

class NormFolds {
 public:
  // Both outlive it; `weight` gives the address of a weight of the program.
  NormFolds(const Program& program, Device& device, std::function<const std::byte*(int)> weight)
      : program_(program), device_(device), weight_(std::move(weight)) {}

  // Of a product, in bf16, and the layer norm of its x. Errors: of the device.
  Result<NormFold> Of(const Op& linear, const Op& norm);
  uint64_t bytes() const;

 private:
  const float* Vector(int weight) const {  // null for -1
    return weight < 0 ? nullptr : reinterpret_cast<const float*>(weight_(weight));
  }

  const Program& program_;
  Device& device_;
  std::function<const std::byte*(int)> weight_;
  std::map<std::array<int, 4>, Buffer> folds_;  // by weights and biases of the two: slopes, then biases
};

}  // namespace unimax
