// SPDX-License-Identifier: Apache-2.0
#include "engine/measure.h"

#include <algorithm>

#include "base/clock.h"

namespace unimax {
namespace {

// `batch` sequences; sequence s owns pages [s * max_pages, (s + 1) * max_pages), dealt in a fixed shuffled order.
struct Batch {
  Batch(const ExecutorOptions& limits, int batch) : table(static_cast<size_t>(batch * limits.max_pages)) {
    const int count = static_cast<int>(table.size());
    const int stride = count % 7 == 0 ? 11 : 7;  // coprime with the count, so that every page occurs once
    for (int i = 0; i < count; ++i)
      table[static_cast<size_t>(i)] = count % stride == 0 ? i : static_cast<int>(int64_t{i} * stride % count);
  }
  // `length`: what each sequence is planned for.
  Step AsStep(const Model& model, int length) {
    rope_rows.resize(positions.size());
    for (size_t i = 0; i < positions.size(); ++i) {
      rope_rows[i] = RopeRow(model.program(), model.limits(), positions[i], length);
    }
    return {ids, positions, sequences, table, outputs, rope_rows};
  }
  std::vector<int> table, ids, positions, sequences, outputs, rope_rows;
};

Status Prefill(Model& model, Batch& batch, int sequence, int context, int length) {
  const int chunk = model.limits().max_tokens;
  for (int at = 0; at < context; at += chunk) {
    const int count = std::min(chunk, context - at);
    batch.ids.clear();
    batch.positions.clear();
    for (int i = 0; i < count; ++i) {
      batch.ids.push_back((17 + 31 * (at + i) + sequence) % model.config().vocab);
      batch.positions.push_back(at + i);
    }
    batch.sequences.assign(static_cast<size_t>(count), sequence);
    batch.outputs.clear();
    if (at + count == context) batch.outputs.push_back(count - 1);
    UM_RETURN_IF_ERROR(model.executor().Run(batch.AsStep(model, length)));
  }
  return model.executor().Ids().status();  // waits
}

}  // namespace

Result<Measurement> Measure(Model& model, int batch, int context, int steps) {
  const ExecutorOptions& limits = model.limits();
  if (batch > limits.max_sequences || context + steps > limits.max_pages * limits.page_tokens) {
    return Internal("the model was loaded for {} sequences of {} tokens", limits.max_sequences, model.context());
  }
  Measurement m;
  m.batch = batch;
  m.context = context;
  Batch b(limits, batch);
  const double begin = NowMilliseconds();
  for (int s = 0; s < batch; ++s) UM_RETURN_IF_ERROR(Prefill(model, b, s, context, context + steps));
  m.prefill_ms = NowMilliseconds() - begin;

  b.ids.assign(static_cast<size_t>(batch), 1);
  b.positions.assign(static_cast<size_t>(batch), context);
  b.sequences.clear();
  b.outputs.clear();
  for (int s = 0; s < batch; ++s) {
    b.sequences.push_back(s);
    b.outputs.push_back(s);
  }
  // From the ids of one step to those of the next. As in the engine, an executor that can has the next step already.
  Executor& executor = model.executor();
  const bool ahead = executor.runs_ahead();
  UM_ASSIGN_OR_RETURN(const GuardCount before, executor.Guard());
  std::vector<double> times;
  double last = NowMilliseconds();
  for (int step = 0; step < steps; ++step) {
    UM_RETURN_IF_ERROR(executor.Run(b.AsStep(model, context + steps)));
    for (int& position : b.positions) ++position;
    if (ahead && step == 0) {
      for (int s = 0; s < batch; ++s) b.ids[static_cast<size_t>(s)] = -1 - s;
      continue;
    }
    UM_ASSIGN_OR_RETURN(const std::span<const int> ids, ahead ? executor.PreviousIds() : executor.Ids());
    if (std::ranges::any_of(ids, [](int id) { return id < 0; })) return Internal("a logit is not finite");
    if (!ahead) b.ids.assign(ids.begin(), ids.end());
    const double now = NowMilliseconds();
    if (!ahead || step > 1) times.push_back(now - last);
    last = now;
  }
  UM_RETURN_IF_ERROR(executor.Ids().status());  // waits
  UM_ASSIGN_OR_RETURN(m.guard, executor.Guard());
  m.guard.blocks -= before.blocks;
  m.guard.redone -= before.redone;
  std::sort(times.begin(), times.end());
  m.decode_ms = times[times.size() / 2];
  m.decode_low = times[times.size() / 4];
  m.decode_high = times[times.size() * 3 / 4];
  // The weights are read once whatever the batch is; every sequence reads its own K and V.
  const MemoryUse memory = model.executor().memory();
  const double kv_token = static_cast<double>(memory.kv) / (limits.pages * limits.page_tokens);
  double weights = static_cast<double>(memory.weights);
  const Weight& table = model.program().weights[static_cast<size_t>(model.program().ops.front().weight)];
  if (!model.config().tied_embeddings) {  // a lookup reads single rows of the table
    double elements = 0;
    for (const Weight& w : model.program().weights) elements += 1.0 * w.rows * w.cols;
    weights *= 1.0 - 1.0 * table.rows * table.cols / elements;
  }
  m.kv_bytes = kv_token * batch * context;
  m.bytes = weights + m.kv_bytes;
  return m;
}

}  // namespace unimax
