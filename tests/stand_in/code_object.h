// SPDX-License-Identifier: Apache-2.0
// What a driver reads from an AMD code object: an ELF file whose note NT_AMDGPU_METADATA lists its kernels in
// MessagePack (LLVM's "User Guide for AMDGPU Backend", code object V5 metadata).
#pragma once

#include <map>
#include <span>
#include <string>

#include "base/status.h"

namespace unimax {

struct KernelCode {
  int kernarg_bytes = 0;  // with the hidden arguments
  int args_bytes = 0;     // of the arguments that the source names
  int shared_bytes = 0;   // LDS that the kernel has without asking (group segment)
  int private_bytes = 0;  // scratch of a lane
  int max_threads = 0;    // of a block (flat workgroup)
  int lanes = 0;          // of a wave
};

struct CodeObject {
  std::string target;  // "gfx942", without the settings of xnack and sramecc
  std::map<std::string, KernelCode> kernels;
};

bool IsElf(std::span<const unsigned char> image);
// The bytes of an image of which only the start is known, by its own headers; 0 where that is no ELF file.
size_t ElfBytes(const unsigned char* image);
// Errors: kBadModel with what is wrong.
Result<CodeObject> ReadCodeObject(std::span<const unsigned char> image);

}  // namespace unimax
