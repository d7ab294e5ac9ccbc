// SPDX-License-Identifier: Apache-2.0
#include "program/program.h"

namespace unimax {
namespace {

int ReadersOf(const Program& program, int value) {
  int readers = 0;
  for (const Op& op : program.ops) {
    for (int in : {op.in, op.in2, op.in3}) {
      if (in >= 0 && (in == value || program.values[in].parent == value)) ++readers;
    }
  }
  return readers;
}

// y = Linear(h); x = x + y * s  ->  x = Linear(h) * s + x.
bool FuseResidual(const Program& program, const Op& linear, const Op& add, Op* fused) {
  if (linear.kind != OpKind::kLinear || add.kind != OpKind::kAdd || linear.in2 >= 0 || linear.cap != 0) return false;
  if (add.in2 != linear.out || add.out != add.in || ReadersOf(program, linear.out) != 1) return false;
  if (linear.in == add.in) return false;  // some threads would still read what others write
  *fused = linear;
  fused->in2 = add.in;
  fused->out = add.out;
  fused->scale = linear.scale * add.scale;
  return true;
}

int UsersOf(const Program& program, int weight) {
  int users = 0;
  for (const Op& op : program.ops) users += (op.weight == weight) + (op.bias == weight);
  return users;
}

// Neither scale, cap nor residual: an activation may follow at once.
bool Bare(const Op& linear) {
  return linear.kind == OpKind::kLinear && linear.act == Activation::kNone && linear.scale == 1 && linear.cap == 0 &&
         linear.in2 < 0;
}

// h = Linear(x); y = act(h)  ->  y = act(Linear(x)).
bool FuseAct(const Program& program, const Op& linear, const Op& act, Op* fused) {
  if (!Bare(linear) || act.kind != OpKind::kActMul || act.in2 >= 0) return false;
  if (act.in != linear.out || ReadersOf(program, linear.out) != 1) return false;
  *fused = linear;
  fused->act = act.act;
  fused->out = act.out;
  return true;
}

// gate, up = Linear(h); y = act(gate) * up  ->  y = Linear(h) over strips of gate and up in turn.
// Strips are 16 rows, so both parts must be equal multiples of 16. A bias stays in the order of the file.
bool FuseActMul(const Program& program, const Op& linear, const Op& act, Op* fused, Weight* weight) {
  if (!Bare(linear) || act.kind != OpKind::kActMul || act.in2 < 0 || act.act == Activation::kNone) return false;
  const Value& gate = program.values[act.in];
  const Value& up = program.values[act.in2];
  if (gate.parent != linear.out || up.parent != linear.out || ReadersOf(program, linear.out) != 2) return false;
  if (weight->parts.size() != 2 || gate.offset != 0 || up.offset != gate.cols) return false;
  if (weight->parts[0].rows != weight->parts[1].rows || weight->parts[0].rows % 16 != 0) return false;
  if (UsersOf(program, linear.weight) != 1) return false;  // another op would find the strips interleaved
  weight->interleaved = true;
  *fused = linear;
  fused->act = act.act;
  fused->out = act.out;
  return true;
}

}  // namespace

Program Fuse(const Program& program, const FuseOptions& options) {
  Program result = program;
  result.ops.clear();
  for (size_t i = 0; i < program.ops.size(); ++i) {
    Op fused;
    const bool pair = i + 1 < program.ops.size();
    if (pair && options.residual && FuseResidual(program, program.ops[i], program.ops[i + 1], &fused)) {
      result.ops.push_back(fused);
      ++i;
    } else if (pair && options.act && FuseAct(program, program.ops[i], program.ops[i + 1], &fused)) {
      result.ops.push_back(fused);
      ++i;
    } else if (pair && options.act_mul && program.ops[i].weight >= 0 &&
               FuseActMul(program, program.ops[i], program.ops[i + 1], &fused,
                          &result.weights[program.ops[i].weight])) {
      result.ops.push_back(fused);
      ++i;
    } else {
      result.ops.push_back(program.ops[i]);
    }
  }
  return result;
}

}  // namespace unimax
