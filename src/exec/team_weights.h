// SPDX-License-Identifier: Apache-2.0
// A program's weights as the CPU's bodies want them: integer rows packed, plain rows read where the file is mapped.
#pragma once

#include <vector>

#include "base/team.h"
#include "exec/executor.h"
#include "exec/team_memory.h"
#include "kernels/cpu/cpu_kernels.h"
#include "program/program.h"
#include "weights/weight_source.h"

namespace unimax {

// Consecutive rows of a matrix that have one form.
struct WeightSegment {
  WeightForm form = WeightForm::kF32;
  int first_row = 0, rows = 0;
  const std::byte* data = nullptr;
};

struct TeamWeight {
  std::vector<WeightSegment> segments;  // of a matrix that a Linear reads
  SourceTensor table;                   // rows of a matrix that an Embed reads, never null
  std::vector<float> vector;
  bool packed = false;  // some segment wants quantised activations
  bool plain = false;   // some segment wants f32 activations
};

class TeamWeights {
 public:
  // `plain`: integer rows become f32. The source must outlive this object. Errors: of the source; kIo without memory.
  static Result<TeamWeights> Load(const Program& program, const WeightSource& source, const CpuKernels& kernels,
                                  Team& team, bool plain, const LoadingProgress& loading);

  const TeamWeight& operator[](int weight) const { return weights_[static_cast<size_t>(weight)]; }
  uint64_t bytes() const { return arena_.bytes(); }
  // Every matrix of a Linear holds f32 rows.
  bool all_f32() const { return all_f32_; }
  // "i4_min", or "mixed".
  const char* form_name() const { return form_name_; }

 private:
  struct Piece;  // a part of a matrix on its way into a segment
  std::vector<TeamWeight> weights_;
  Arena arena_;
  bool all_f32_ = true;
  const char* form_name_ = nullptr;
};

}  // namespace unimax
