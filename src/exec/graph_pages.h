// SPDX-License-Identifier: Apache-2.0
// Keys and values of all layers on a device: pages of [kv_heads, page_tokens, head_dim] elements, first the keys of all
// layers, layer after layer, then the values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "device/device.h"
#include "exec/executor.h"
#include "program/program.h"

namespace unimax {

class GraphPages {
 public:
  GraphPages(const Program& program, const ExecutorOptions& options, int element_bytes);
  // Errors: of the device, which must outlive the pages.
  Status Allocate(Device& device);

  uint64_t bytes() const { return page_bytes() * static_cast<uint64_t>(pages_); }
  uint64_t page_bytes() const { return 2 * static_cast<uint64_t>(layers_) * run_bytes_; }  // of all layers
  uint64_t layer_bytes() const { return run_bytes_ * static_cast<uint64_t>(pages_); }      // of keys
  std::byte* Keys(int layer) const {
    return buffer_.data() + static_cast<uint64_t>(std::max(layer, 0)) * layer_bytes();
  }
  std::byte* Values(int layer) const { return Keys(layer) + bytes() / 2; }

  // A page's bytes, [page_bytes]. Errors: of the device.
  Status Read(int page, std::span<std::byte> to) const;
  Status Write(int page, std::span<const std::byte> from) const;

 private:
  std::byte* RunAt(int page, int run) const;  // of 2 * layers_

  int layers_, pages_;
  uint64_t run_bytes_;  // of a page's keys, or values, in one layer
  Device* device_ = nullptr;
  Buffer buffer_;
};

}  // namespace unimax
