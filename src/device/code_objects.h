// SPDX-License-Identifier: Apache-2.0
// The device code that was embedded when this binary was built (cmake/gpu.cmake).
#pragma once

#include <span>

namespace unimax {

struct EmbeddedCode {
  const char* target;          // what it runs on: "sm_90a", "gfx942"; "compute_80" is PTX
  const char* name;            // its source file without folder and suffix
  const unsigned char* begin;  // 64-byte aligned; *end is 0, so PTX is a C string
  const unsigned char* end;
};

// All code objects, several a target when it has several sources; empty where no device compiler was there.
std::span<const EmbeddedCode> EmbeddedCodeObjects();

}  // namespace unimax
