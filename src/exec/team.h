// SPDX-License-Identifier: Apache-2.0
// The team executor: the CPU. One persistent team of threads walks the program once a step, with barriers between ops;
// each op's work is cut into static ranges. Nothing is allocated in a step.
#pragma once

#include <memory>

#include "base/team.h"
#include "exec/executor.h"
#include "kernels/cpu/cpu_isa.h"
#include "weights/weight_source.h"

namespace unimax {

struct TeamOptions {
  int threads = Team::DefaultThreads();
  Isa isa = BestIsa();
  bool deterministic = false;  // a row's bits depend neither on its batch nor on the number of threads
  bool plain = false;          // f32 throughout: integer weights become f32 rows, the KV cache is f32
};

// Unless `plain`: integer weights stay integers and meet activations rounded to 8 bits in blocks of 32; the KV cache is
// f16, or f32 where all weights are. `source` must outlive the executor: plain rows and the embedding are read there.
// Errors: of the source; kUsage for options the machine cannot meet; kBadModel for heads wider than kWidestHead; kIo
// without memory.
Result<std::unique_ptr<Executor>> MakeTeamExecutor(const Program& program, const WeightSource& source,
                                                   const ExecutorOptions& options, const TeamOptions& team);

}  // namespace unimax
