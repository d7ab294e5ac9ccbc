// SPDX-License-Identifier: Apache-2.0
// norm_fold: what of a layer norm before a product does not depend on x: w (norm * (x - mean) * r + norm_bias) + bias
//            = r * (w (norm * x) - mean * slope) + folded.
// Who calls: exec/norm_folds, once for each such product while a model is loaded.
// Work:      a group has a row of w; neighbouring groups share its tiles.
// Bound:     memory. bytes = N*K*2.
// Launch:    any grid; threads a multiple of kLanes; no shared memory.
// Reference: the definition (exec/stream_test, against the graph). Sum order: a lane its columns, then the lanes.
// Source:    the definition.
#pragma once

#include "kernels/args.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {

template <class T>
UM_DEVICE void NormFold(const NormFoldArgs& a) {
  constexpr int kTileElements = kTileRows * kTileK;
  const int groups = BlockThreads() / kLanes;
  for (int n = BlockX() * groups + Group(); n < a.n; n += GridX() * groups) {
    const T* strip = static_cast<const T*>(a.w) + static_cast<int64_t>(n / kTileRows) * (a.k / kTileK) * kTileElements;
    float slope = 0, folded = 0;
    for (int k = Lane(); k < a.k; k += kLanes) {
      const float w = ToFloat(strip[k / kTileK * kTileElements + PackedIndex(n % kTileRows, k % kTileK)]);
      slope += w * a.norm[k];
      if (a.norm_bias != nullptr) folded += w * a.norm_bias[k];
    }
    slope = GroupSum(slope);
    folded = GroupSum(folded);
    if (Lane() != 0) continue;
    a.slope[n] = slope;
    a.folded[n] = folded + (a.bias != nullptr ? a.bias[n] : 0.0f);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
