// SPDX-License-Identifier: Apache-2.0
#include "exec/norm_folds.h"

#include "kernels/args.h"

namespace unimax {

uint64_t NormFolds::bytes() const {
  uint64_t bytes = 0;
  for (const auto& [key, fold] : folds_) bytes += fold.bytes();
  return bytes;
}

Result<NormFold> NormFolds::Of(const Op& linear, const Op& norm) {
  const Weight& w = program_.weights[static_cast<size_t>(linear.weight)];
  const std::array<int, 4> key = {linear.weight, linear.bias, norm.weight, norm.bias};
  const auto fold_in = [&](const Buffer& buffer) {
    const auto* slope = reinterpret_cast<const float*>(buffer.data());
    return NormFold{slope, slope + w.rows};
  };
  if (const auto found = folds_.find(key); found != folds_.end()) return fold_in(found->second);
  UM_ASSIGN_OR_RETURN(const Kernel kernel, device_.FindKernel("norm_fold_bf16"));
  UM_ASSIGN_OR_RETURN(Buffer buffer, device_.Allocate(size_t{2} * static_cast<size_t>(w.rows) * sizeof(float),
                                                      "layer norms folded into products"));
  auto* slope = reinterpret_cast<float*>(buffer.data());
  const NormFoldArgs args = {weight_(linear.weight),
                             Vector(norm.weight),
                             Vector(norm.bias),
                             Vector(linear.bias),
                             slope,
                             slope + w.rows,
                             w.rows,
                             w.cols};
  Launch launch = Launch::Of(kernel, args);
  launch.grid_x = device_.limits().multiprocessors * 2;
  launch.threads = 16 * device_.limits().lanes;
  UM_RETURN_IF_ERROR(device_.Run(launch));
  return fold_in(folds_.emplace(key, std::move(buffer)).first->second);
}

}  // namespace unimax
