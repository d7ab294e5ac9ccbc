// SPDX-License-Identifier: Apache-2.0
// Instruction sets that the CPU bodies are built for, and which of them this machine has.
#pragma once

#include <optional>
#include <string_view>

namespace unimax {

enum class Isa { kGeneric, kAvx2, kAvx512 };  // avx2: with FMA and F16C; avx512: F, BW, VL, DQ and VNNI
inline constexpr Isa kIsas[] = {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512};

// Names of `--isa`: "generic", "avx2", "avx512".
const char* IsaName(Isa isa);
std::optional<Isa> IsaNamed(std::string_view name);
// Both the binary and this machine have it.
bool Supported(Isa isa);
Isa BestIsa();

}  // namespace unimax
