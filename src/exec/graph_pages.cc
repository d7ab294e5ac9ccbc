// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_pages.h"

namespace unimax {

GraphPages::GraphPages(const Program& program, const ExecutorOptions& options, int element_bytes)
    : layers_(program.layers),
      pages_(options.pages),
      run_bytes_(static_cast<uint64_t>(options.page_tokens) *
                 static_cast<uint64_t>(program.attention.kv_heads * program.attention.head_dim) *
                 static_cast<uint64_t>(element_bytes)) {}

Status GraphPages::Allocate(Device& device) {
  device_ = &device;
  UM_ASSIGN_OR_RETURN(buffer_, device.Allocate(std::max<uint64_t>(bytes(), 16), "KV cache"));
  return {};
}

std::byte* GraphPages::RunAt(int page, int run) const {
  const auto index = static_cast<uint64_t>(run) * static_cast<uint64_t>(pages_) + static_cast<uint64_t>(page);
  return buffer_.data() + index * run_bytes_;
}

Status GraphPages::Read(int page, std::span<std::byte> to) const {
  UM_CHECK(page >= 0 && page < pages_ && to.size() == page_bytes());
  for (int run = 0; run < 2 * layers_; ++run) {
    std::byte* at = to.data() + static_cast<uint64_t>(run) * run_bytes_;
    UM_RETURN_IF_ERROR(device_->Download(at, RunAt(page, run), run_bytes_));
  }
  return {};
}

Status GraphPages::Write(int page, std::span<const std::byte> from) const {
  UM_CHECK(page >= 0 && page < pages_ && from.size() == page_bytes());
  for (int run = 0; run < 2 * layers_; ++run) {
    const std::byte* at = from.data() + static_cast<uint64_t>(run) * run_bytes_;
    UM_RETURN_IF_ERROR(device_->Upload(RunAt(page, run), at, run_bytes_));
  }
  return {};
}

}  // namespace unimax
