// SPDX-License-Identifier: Apache-2.0
// That no number of a step can leave a buffer of the executor that runs it: asked on the host, before anything runs.
#pragma once

#include "exec/executor.h"

namespace unimax {

class StepCheck {
 public:
  StepCheck() = default;
  StepCheck(const Program& program, const ExecutorOptions& options);

  // The step before chose `before` ids. Errors: kInternal with what is out of range, for steps are made by ourselves.
  Status operator()(const Step& step, int before) const;

 private:
  ExecutorOptions options_;
  int vocab_ = 0;
  int learned_positions_ = 0;  // rows of the position table that positions may name; 0: there is none
  bool second_rope_ = false;   // the rotary table has a second set of rows
};

}  // namespace unimax
