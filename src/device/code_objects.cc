// SPDX-License-Identifier: Apache-2.0
#include "device/code_objects.h"

// Defined in the assembler file that cmake/gpu.cmake writes.
extern "C" {
extern const unimax::EmbeddedCode um_embedded_code[] __attribute__((visibility("hidden")));
extern const unimax::EmbeddedCode um_embedded_code_end[] __attribute__((visibility("hidden")));
}

namespace unimax {

std::span<const EmbeddedCode> EmbeddedCodeObjects() { return {um_embedded_code, um_embedded_code_end}; }

}  // namespace unimax
