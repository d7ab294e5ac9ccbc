// SPDX-License-Identifier: Apache-2.0
// Which values may share a buffer: two values of one shape class whose lives do not overlap.
#pragma once

#include <vector>

#include "program/program.h"

namespace unimax {

struct BufferPlan {
  std::vector<int> buffer_of;  // value -> buffer; a view has its parent's; -1 for values that no op touches
  std::vector<int> example;    // buffer -> a value that lives in it (all have the same cols, rows and storage)
};

struct OpRange {
  int first, last;
};

// A value lives from the first op that writes it to the last that reads or writes it. `kept` (or -1) lives to the end.
// A buffer is free for the next op only after the op that read it last, so an op never writes what it still reads. The
// ops of a range of `together`, which are in order and do not meet, count as one.
BufferPlan PlanBuffers(const Program& program, int kept, const std::vector<OpRange>& together = {});

}  // namespace unimax
