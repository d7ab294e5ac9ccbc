// SPDX-License-Identifier: Apache-2.0
// A model is a program: a flat list of operations over named values and weights. It computes nothing itself; it can be
// printed, costed, planned and run by different executors (docs/architecture.md).
//
// Rows of a value are the tokens of a step ([T, cols]) or the rows whose logits are wanted ([O, cols]).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/activation.h"

namespace unimax {

enum class OpKind : uint8_t {
  kEmbed,         // out[t] = table[ids[t]] * scale                        weight [vocab, hidden]
  kAddPosition,   // out[t] = in[t] + table[positions[t] + first]          weight [first + context, cols]; out may be in
  kNorm,          // out = norm(in) * (weight + offset) (+ bias)           weight [cols]; each run of cols by itself
  kLinear,        // out = cap(act(in * weight^T + bias) * scale + in2)    weight [N, K]; in2: the fused residual
  kRopeAndStore,  // in (q) and in2 (k) are rotated; q in place, k and in3 (v) go to the cache of `layer`
  kAttention,     // out = softmax(cap(q k^T * scale)) v over the cache of `layer`, causal, the last `window` positions
  kActMul,        // out = act(in) * in2, or act(in) where in2 is absent; with kNone `in` may be wide: out is it, narrow
  kAdd,           // out = in + in2 * scale; out may be in
  kSelect,        // out = the rows of `in` whose logits are wanted        [T, cols] -> [O, cols]
  kSample,        // ids[o] = index of the largest of in[o], the lowest on ties
};
inline constexpr int kOpKinds = static_cast<int>(OpKind::kSample) + 1;
const char* OpName(OpKind kind);

const char* ActivationName(Activation act);

enum class NormKind : uint8_t {
  kRms,    // x / sqrt(mean(x^2) + eps)                  Zhang & Sennrich 2019
  kLayer,  // (x - mean(x)) / sqrt(var(x) + eps)         Ba et al. 2016
};

// Which rows a value has, and how an executor may store it.
enum class Rows : uint8_t { kTokens, kOutputs };
enum class Storage : uint8_t {
  kWide,    // always f32: the residual stream, logits
  kNarrow,  // the executor's activation type (f32, bf16, f16)
  kIds,     // 32-bit token ids
};

struct Value {
  std::string name;
  int cols = 0;
  Rows rows = Rows::kTokens;
  Storage storage = Storage::kNarrow;
  int parent = -1;  // a view: columns [offset, offset + cols) of `parent`, which is not itself a view
  int offset = 0;
};

// A matrix [rows, cols] or a vector (rows = 1), made of tensors of the file stacked along the rows.
struct Weight {
  struct Part {
    std::string tensor;  // canonical (Hugging Face) name
    int rows = 0;        // of a matrix; of a vector its elements
    // Which rows of the tensor these are: row r is row first + r / block * stride + r % block of `tensor_rows`. Zeros:
    // all of them in order. Query heads that lie between keys and values have block = head_dim, stride = 3 * head_dim.
    int first = 0, block = 0, stride = 0, tensor_rows = 0;
    bool transposed = false;  // the tensor is [cols, tensor_rows] (Conv1D of GPT-2)
  };
  std::string name;  // for people: "layers.3.qkv"
  int rows = 0, cols = 0;
  bool matrix = true;
  std::vector<Part> parts;
  // Set by fusion: 16-row strips of the parts alternate when packed, so that one group holds gate and up of a column.
  bool interleaved = false;
};

struct Op {
  OpKind kind = OpKind::kAdd;
  int layer = -1;                             // decoder layer, -1 outside
  int in = -1, in2 = -1, in3 = -1, out = -1;  // values
  int weight = -1, bias = -1;                 // weights
  Activation act = Activation::kNone;         // kActMul; kLinear after fusion
  NormKind norm = NormKind::kRms;             // kNorm
  float eps = 0;                              // kNorm
  float offset = 0;                           // kNorm: added to the weight (Gemma stores w - 1)
  float scale = 1;                            // kEmbed, kLinear, kAdd
  float cap = 0;                              // kLinear, kAttention: y = cap * tanh(y / cap); 0: none
  int window = 0;                             // kAttention: positions a query sees, itself included; 0: all
  int rope = 0;                               // kRopeAndStore: index into Program::ropes; -1: stored as they are
  int first = 0;                              // kAddPosition: row of position 0
};

struct AttentionShape {
  int heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0;
};

struct Rope {
  std::vector<double> inv_freq;  // [rotary / 2], radians a position: the first `rotary` elements of a head turn
  // Second set of frequencies (longrope), for sequences that will outgrow the first: empty where there is none. Its
  // angles are rows [context, 2 * context) of the table, and Step::rope_rows says which set a sequence uses.
  std::vector<double> long_inv_freq;
  double magnitude = 1.0;    // factor on cos and sin (yarn, longrope)
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary/2)
};

struct Program {
  std::string model;  // for people
  std::vector<Value> values;
  std::vector<Weight> weights;
  std::vector<Op> ops;
  AttentionShape attention;
  std::vector<Rope> ropes;  // most models have one; Gemma 3 has one for local and one for global layers
  int long_rope_from = 0;   // sequences that will be longer than this use the second set of frequencies; 0: none
  int layers = 0, hidden = 0, vocab = 0, context = 0;
  int logits = -1;  // value [O, vocab]
};

// The first `count` ops; values and weights keep their numbers.
Program Prefix(const Program& program, int count);

// What an op must move and compute for `tokens` rows, of which `outputs` want logits, at `context` cached tokens each.
struct Cost {
  double weight_bytes = 0, kv_bytes = 0, activation_bytes = 0, flops = 0;
};
struct CostTypes {
  double weight_element = 2, activation_element = 2, kv_element = 2;  // bytes
};
Cost OpCost(const Program& program, const Op& op, int tokens, int outputs, int context, const CostTypes& types);
Cost ProgramCost(const Program& program, int tokens, int outputs, int context, const CostTypes& types);

// One line an op: number, kind, shapes, weight, bytes and FLOPs.
std::string Print(const Program& program, int tokens, int context, const CostTypes& types);

// Fusion for executors whose Linear rows have the epilogues: Linear + Add becomes Linear with a residual, a gate/up
// Linear + ActMul becomes one Linear over an interleaved weight, and Linear + ActMul of one input a Linear with `act`.
struct FuseOptions {
  bool residual = false;
  bool act_mul = false;
  bool act = false;
};
Program Fuse(const Program& program, const FuseOptions& options);

}  // namespace unimax
