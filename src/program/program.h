// SPDX-License-Identifier: Apache-2.0
// A model is a program: a flat list of operations over named values and weights. It computes nothing itself; it can be
// printed, costed, planned and run by different executors (docs/architecture.md).
//
// Rows of a value are the tokens of a step ([T, cols]) or the rows whose logits are wanted ([O, cols]).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace unimax {

enum class OpKind : uint8_t {
  kEmbed,         // out[t] = table[ids[t]]                                weight [vocab, hidden]
  kNorm,          // out = in / rms(in) * weight                           weight [cols]
  kLinear,        // out = in * weight^T (+ bias) (+ in2)                  weight [N, K]; in2: the fused residual
  kRopeAndStore,  // in (q) and in2 (k) are rotated; q in place, k and in3 (v) go to the cache of `layer`
  kAttention,     // out = softmax(q k^T * scale) v over the cache of `layer`, causal
  kActMul,        // out = act(in) * in2
  kAdd,           // out = in + in2; out may be in
  kSelect,        // out = the rows of `in` whose logits are wanted        [T, cols] -> [O, cols]
  kSample,        // ids[o] = index of the largest of in[o], the lowest on ties
};
inline constexpr int kOpKinds = static_cast<int>(OpKind::kSample) + 1;
const char* OpName(OpKind kind);

enum class Activation : uint8_t { kNone, kSilu };

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
  float eps = 0;                              // kNorm
  Activation act = Activation::kNone;         // kActMul; kLinear after fusion with an interleaved weight
};

struct AttentionShape {
  int heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 0;
};

struct Rope {
  std::vector<double> inv_freq;  // [head_dim / 2], radians a position
  double magnitude = 1.0;        // factor on cos and sin (yarn)
  bool interleaved = false;      // pairs (2i, 2i+1) instead of (i, i + head_dim/2)
};

struct Program {
  std::string model;  // for people
  std::vector<Value> values;
  std::vector<Weight> weights;
  std::vector<Op> ops;
  AttentionShape attention;
  Rope rope;
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

// Fusion for executors whose Linear rows have the epilogues: Linear + Add becomes Linear with a residual, and a
// gate/up Linear + ActMul becomes one Linear over an interleaved weight.
struct FuseOptions {
  bool residual = false;
  bool act_mul = false;
};
Program Fuse(const Program& program, const FuseOptions& options);

}  // namespace unimax
