// SPDX-License-Identifier: Apache-2.0
#include "exec/stream_plan.h"

#include <algorithm>
#include <utility>

namespace unimax {
namespace {

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

std::vector<int*> WordsOf(PlannedStage& s) {
  return {&s.x, &s.x_sums, &s.residual, &s.y, &s.y_wide, &s.y_sums, &s.partial};
}

// Puts words into buffers, in the order in which they are written: into one whose tenants' users are all done before
// the writer writes, or into a new one.
void AssignBuffers(StreamPlan& plan, const std::vector<uint64_t>& words) {
  std::vector<std::vector<int>> users(words.size());  // stages that read or write them, in order
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    for (const int* w : WordsOf(plan.stages[s])) {
      if (*w >= 0) users[static_cast<size_t>(*w)].push_back(static_cast<int>(s));
    }
  }
  std::vector<int> buffer_of(words.size());
  std::vector<std::vector<size_t>> tenants;
  for (size_t w = 0; w < words.size(); ++w) {
    const int writer = users[w].front();
    const auto done = [&](size_t tenant) {
      return std::ranges::all_of(users[tenant],
                                 [&](int user) { return user < writer && StreamOrdered(plan.stages, user, writer); });
    };
    size_t b = 0;
    while (b < tenants.size() && (plan.buffers[b] != words[w] || !std::ranges::all_of(tenants[b], done))) ++b;
    if (b == tenants.size()) {
      tenants.emplace_back();
      plan.buffers.push_back(words[w]);
    }
    tenants[b].push_back(w);
    buffer_of[w] = static_cast<int>(b);
  }
  for (PlannedStage& s : plan.stages) {
    for (int* w : WordsOf(s)) *w = *w < 0 ? -1 : buffer_of[static_cast<size_t>(*w)];
  }
}

// Walks the ops of a decoder whose rows are its own outputs, and remembers which stage wrote a value last.
class Planner {
 public:
  Planner(const Program& program, const StreamPlanOptions& options)
      : program_(program),
        options_(options),
        writer_(program.values.size(), -1),
        norm_(program.values.size(), nullptr) {}

  Result<StreamPlan> Plan() {
    for (const Op& op : program_.ops) UM_RETURN_IF_ERROR(Take(op));
    if (plan_.stages.empty() || plan_.stages.back().stage.kind != StreamKind::kChoose) {
      return UsageError("the program does not end with a choice");
    }
    AssignBuffers(plan_, words_);
    return std::move(plan_);
  }

 private:
  const Value& value(int v) const { return program_.values[static_cast<size_t>(v)]; }
  int Root(int v) const { return value(v).parent >= 0 ? value(v).parent : v; }
  PlannedStage& stage(int s) { return plan_.stages[static_cast<size_t>(s)]; }
  Status Unknown(const Op& op, const char* what) const {
    return UsageError("{} {}: {}", OpName(op.kind), op.out < 0 ? "" : value(op.out).name, what);
  }

  // ---- buffers ----
  uint64_t NarrowBytes(int cols) const { return 16ull * kStreamWordBytes * Rows(CeilDiv(cols, 32)); }
  uint64_t WideBytes(int cols) const { return 32ull * kStreamWordBytes * Rows(CeilDiv(cols, 32)); }
  uint64_t SumBytes(int units) const { return uint64_t{kStreamSumWords} * kStreamWordBytes * Rows(units); }
  uint64_t Rows(int count) const { return static_cast<uint64_t>(count) * static_cast<uint64_t>(options_.rows); }

  // Words of their own for now; AssignBuffers lets those share memory that can.
  int NewWords(uint64_t bytes) {
    words_.push_back(bytes);
    return static_cast<int>(words_.size()) - 1;
  }

  // ---- stages ----
  int Add(StreamKind kind, int units) {
    PlannedStage s;
    s.stage.kind = kind;
    s.stage.units = units;
    s.stage.first = dealt_ % options_.blocks;
    s.stage.x_from = s.stage.residual_from = -1;
    s.stage.scale = 1;
    dealt_ += units;
    plan_.stages.push_back(s);
    return static_cast<int>(plan_.stages.size()) - 1;
  }
  void ReadFrom(int s, int from) {
    stage(s).stage.x_from = from;
    stage(s).x = stage(from).y;
  }

  void ReadSums(PlannedStage& s, const Op& norm) {
    const PlannedStage& from = stage(s.stage.x_from);
    s.stage.flags |= norm.norm == NormKind::kLayer ? kStreamLayer : 0;
    s.stage.eps = norm.eps;
    s.stage.sum_units = from.stage.units;
    s.stage.sum_cols = from.stage.strips * 16;
    s.x_sums = from.y_sums;
  }

  Status Take(const Op& op) {
    switch (op.kind) {
      case OpKind::kEmbed:
        return TakeEmbed(op);
      case OpKind::kNorm:
        return TakeNorm(op);
      case OpKind::kLinear:
        return TakeLinear(op);
      case OpKind::kRopeAndStore:
        return TakeRope(op);
      case OpKind::kAttention:
        return TakeAttention(op);
      case OpKind::kSelect:  // a decode step wants the logits of all its rows
        writer_[static_cast<size_t>(op.out)] = writer_[static_cast<size_t>(op.in)];
        return {};
      case OpKind::kSample: {
        const int s = Add(StreamKind::kChoose, options_.rows);
        stage(s).stage.x_from = writer_[static_cast<size_t>(op.in)];
        return {};
      }
      case OpKind::kAddPosition:
        return TakePosition(op);
      case OpKind::kActMul:
      case OpKind::kAdd:
        break;
    }
    return Unknown(op, "the stream kernel has no such stage");
  }

  Status TakeEmbed(const Op& op) {
    const int cols = value(op.out).cols;
    if (cols % 32 != 0) return Unknown(op, "columns are no multiple of 32");
    const int s = Add(StreamKind::kEmbed, cols / 32);
    stage(s).stage.n = cols;
    stage(s).stage.strips = 2;
    stage(s).stage.scale = op.scale;
    stage(s).weight = op.weight;
    WriteWide(s, op.out, cols);
    return {};
  }
  Status TakePosition(const Op& op) {
    const int s = writer_[static_cast<size_t>(op.in)];
    if (op.out != op.in || s < 0 || stage(s).stage.kind != StreamKind::kEmbed || stage(s).places >= 0) {
      return Unknown(op, "only positions of the embedding");
    }
    stage(s).places = op.weight;
    stage(s).stage.first_place = op.first;
    return {};
  }
  void WriteWide(int s, int out, int cols) {
    stage(s).y_wide = NewWords(WideBytes(cols));
    writer_[static_cast<size_t>(out)] = s;
  }

  // A norm belongs to the stage that wrote its input: that one multiplies by the weight and sums up moments, and the
  // products behind the norm make up for the rest. A second layer norm of the same input, or one before rows that
  // alternate, is a stage of its own that reads the moments.
  Status TakeNorm(const Op& op) {
    const int s = value(op.in).storage == Storage::kWide ? writer_[static_cast<size_t>(op.in)] : -1;
    if (s < 0 || value(op.out).storage == Storage::kWide) return Unknown(op, "only norms of the residual stream");
    const int cols = value(op.in).cols;
    if (program_.weights[static_cast<size_t>(op.weight)].cols != cols) return Unknown(op, "heads normed by themselves");
    const bool moments = stage(s).stage.flags & kStreamMoments;
    if (stage(s).y_sums >= 0 && !(moments && op.norm == NormKind::kLayer)) {
      return Unknown(op, "a second norm of the same values");
    }
    if (!moments) stage(s).y_sums = NewWords(SumBytes(stage(s).stage.units));
    if (op.norm == NormKind::kLayer) {
      if (op.offset != 0) return Unknown(op, "a layer norm with an offset");
      stage(s).stage.flags |= kStreamMoments;
      if (moments || !Folds(op)) return TakeLayerNorm(op, s, cols);
    } else if (op.bias >= 0) {
      return Unknown(op, "a root-mean-square norm with a bias");
    }
    writer_[static_cast<size_t>(op.out)] = s;
    norm_[static_cast<size_t>(op.out)] = &op;
    stage(s).norm = op.weight;
    stage(s).stage.norm_offset = op.offset;
    stage(s).y = NewWords(NarrowBytes(cols));
    return {};
  }
  // Whether all readers of a layer norm can make up for it.
  bool Folds(const Op& norm) const {
    return std::ranges::all_of(program_.ops, [&](const Op& op) {
      if (op.in != norm.out) return true;
      return op.kind == OpKind::kLinear && !program_.weights[static_cast<size_t>(op.weight)].interleaved;
    });
  }
  Status TakeLayerNorm(const Op& op, int from, int cols) {
    if (cols % 32 != 0) return Unknown(op, "columns are no multiple of 32");
    const int s = Add(StreamKind::kNorm, cols / 32);
    PlannedStage& norm = stage(s);
    norm.stage.n = norm.stage.k = cols;
    norm.stage.x_from = from;
    norm.x = stage(from).y_wide;
    ReadSums(norm, op);
    norm.norm = op.weight;
    norm.bias = op.bias;
    norm.y = NewWords(NarrowBytes(cols));
    writer_[static_cast<size_t>(op.out)] = s;
    return {};
  }

  // Strips of a unit: those with which the block that has most to read has least. The end of a unit takes as long as
  // reading some KB.
  int StripsOfUnit(const Weight& w) const {
    constexpr int kEndBytes = 24 * 1024;
    const auto most = [&](int strips) {
      const int units = CeilDiv(w.rows, 16 * strips);
      return int64_t{CeilDiv(units, options_.blocks)} * (int64_t{32} * strips * w.cols + kEndBytes);
    };
    return most(1) < most(2) ? 1 : 2;
  }
  Status TakeLinear(const Op& op) {
    const Weight& w = program_.weights[static_cast<size_t>(op.weight)];
    const Value& out = value(op.out);
    const int from = writer_[static_cast<size_t>(op.in)];
    if (from < 0 || value(op.in).parent >= 0) return Unknown(op, "its input is no stage's whole output");
    if (w.cols % 32 != 0) return Unknown(op, "columns are no multiple of 32");
    const bool logits = op.out == program_.logits;
    if (out.storage == Storage::kWide && !logits && op.in2 < 0) return Unknown(op, "a wide output without a residual");
    const int strips = w.interleaved ? 2 : StripsOfUnit(w);
    const int s = Add(StreamKind::kLinear, CeilDiv(w.rows, 16 * strips));
    PlannedStage& planned = stage(s);
    StreamStage& to = planned.stage;
    to.strips = strips;
    to.n = w.rows;
    to.k = w.cols;
    to.flags = (w.interleaved ? kStreamGated : 0) | (logits ? kStreamLogits : 0);
    to.act = op.act;
    to.scale = op.scale;
    to.cap = op.cap;
    planned.weight = op.weight;
    planned.bias = op.bias;
    ReadFrom(s, from);
    if (const Op* norm = norm_[static_cast<size_t>(op.in)]; norm != nullptr) {  // scales by the sums that come with x
      ReadSums(planned, *norm);
      if (norm->norm == NormKind::kLayer) {
        planned.linear = &op;
        planned.norm_before = norm;
      }
    }
    plan_.widths.push_back(w.cols);
    const int residual = op.in2 < 0 ? -1 : writer_[static_cast<size_t>(op.in2)];
    writer_[static_cast<size_t>(op.out)] = s;
    if (logits) return {};
    if (op.in2 >= 0) {
      if (residual < 0 || stage(residual).y_wide < 0) return Unknown(op, "its residual is no stage's output");
      to.residual_from = residual;
      planned.residual = stage(residual).y_wide;
      WriteWide(s, op.out, w.rows);
      return {};
    }
    planned.y = NewWords(NarrowBytes(out.cols));
    return {};
  }

  Status TakeRope(const Op& op) {
    rope_ = &op;
    const int root = Root(op.in);
    if (Root(op.in2) != root || Root(op.in3) != root) return Unknown(op, "q, k and v are no parts of one product");
    return {};
  }
  Status TakeAttention(const Op& op) {
    const AttentionShape& a = program_.attention;
    const Op* rope = std::exchange(rope_, nullptr);
    if (rope == nullptr || rope->layer != op.layer) return Unknown(op, "keys of another layer");
    if (op.cap > 0) return Unknown(op, "scores with a soft cap");
    const int from = writer_[static_cast<size_t>(Root(rope->in))];
    if (from < 0 || value(rope->in).offset != 0) return Unknown(op, "its queries are no stage's output");
    const int runs = a.kv_heads * options_.splits * options_.rows;
    const uint64_t words = static_cast<uint64_t>(runs) * static_cast<uint64_t>(a.heads / a.kv_heads) *
                           static_cast<uint64_t>(a.head_dim + 2);
    const int s = Add(StreamKind::kAttention, a.kv_heads * options_.splits);
    ReadFrom(s, from);
    stage(s).layer = op.layer;
    stage(s).rope = rope->rope;
    stage(s).stage.window = op.window;
    stage(s).stage.k_at = value(rope->in2).offset;
    stage(s).stage.v_at = value(rope->in3).offset;
    stage(s).partial = NewWords(words * kStreamWordBytes);
    const int merge = Add(StreamKind::kMerge, a.heads);
    stage(merge).stage.x_from = s;
    stage(merge).stage.window = op.window;
    stage(merge).partial = stage(s).partial;
    // Rows of one run are told by kAttention itself.
    stage(s).y = stage(merge).y = NewWords(NarrowBytes(a.heads * a.head_dim));
    writer_[static_cast<size_t>(op.out)] = merge;
    return {};
  }

  const Program& program_;
  const StreamPlanOptions options_;
  StreamPlan plan_;
  std::vector<uint64_t> words_;  // bytes of each
  std::vector<int> writer_;      // value -> stage that wrote it last
  std::vector<const Op*> norm_;  // value -> the norm that its reader must finish
  const Op* rope_ = nullptr;
  int dealt_ = 0;
};

// Whether all units of `target` are done once all units of `done` are: all of a stage's units together read all that
// its input's units wrote, and so on backwards.
bool Implies(const std::vector<PlannedStage>& stages, int done, int target) {
  while (done > target) {
    const StreamStage& s = stages[static_cast<size_t>(done)].stage;
    // kMerge may have nothing to read: its reader then finds the words of kAttention itself.
    done = s.kind == StreamKind::kEmbed ? -1 : s.x_from;
  }
  return done == target;
}

}  // namespace

bool StreamOrdered(const std::vector<PlannedStage>& stages, int earlier, int later) {
  const StreamStage& s = stages[static_cast<size_t>(later)].stage;
  switch (s.kind) {
    case StreamKind::kEmbed:
      return false;
    case StreamKind::kNorm:  // each unit reads the whole of x, or moments of it
    case StreamKind::kLinear:
    case StreamKind::kChoose:
      return Implies(stages, s.x_from, earlier);
    case StreamKind::kAttention:  // a unit reads a part of x, which its writer wrote after reading the whole of its own
    case StreamKind::kMerge:
      return StreamOrdered(stages, earlier, s.x_from);
  }
  return false;
}

Result<StreamPlan> PlanStream(const Program& program, const StreamPlanOptions& options) {
  return Planner(program, options).Plan();
}

}  // namespace unimax
