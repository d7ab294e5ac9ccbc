// SPDX-License-Identifier: Apache-2.0
#include "exec/graph_draw.h"

#include <string_view>

namespace unimax {
namespace {

// Entries of a row: every id of the history that a penalty changes has one. Longer histories are the host's.
constexpr int kMostEntries = 4096;

Case CaseOf(int rows, int vocab) { return {.op = OpKind::kSample, .m = rows, .n = vocab, .draws = true}; }

}  // namespace

uint64_t DrawStage::Bytes(const ExecutorOptions& options) {
  const uint64_t row = sizeof(DrawRow) + sizeof(int) + (kMostEntries + 1) * sizeof(DrawEntry);
  return row * static_cast<uint64_t>(options.max_outputs);
}

int DrawStage::most_entries() const { return kMostEntries; }

Result<std::unique_ptr<DrawStage>> DrawStage::Make(Device& device, const ExecutorOptions& options, int vocab,
                                                   std::span<const ForcedRow> forced) {
  const Case c = CaseOf(options.max_outputs, vocab);
  const Row* row = PlanRow(c, device.limits(), forced);
  const bool draws = row != nullptr && row->kernel == std::string_view("sample_draw");
  if (!draws || row->launch(c, device.limits()).shared_bytes > device.limits().shared_bytes_per_block) {
    return std::unique_ptr<DrawStage>();
  }
  auto stage = std::make_unique<DrawStage>(device, *row, vocab, options.max_outputs);
  UM_RETURN_IF_ERROR(stage->Allocate());
  return stage;
}

Status DrawStage::Allocate() {
  const auto rows = static_cast<size_t>(rows_);
  const size_t entries = rows * static_cast<size_t>(kMostEntries + 1);
  UM_ASSIGN_OR_RETURN(draws_, device_.Allocate(rows * sizeof(DrawRow), "draws"));
  UM_ASSIGN_OR_RETURN(entries_, device_.Allocate(entries * sizeof(DrawEntry), "entries of draws"));
  UM_ASSIGN_OR_RETURN(previous_, device_.Allocate(rows * sizeof(int), "ids before draws"));
  return {};
}

Status DrawStage::Check(const Step& step, int before) const {
  if (step.draws.size() != step.outputs.size()) {
    return Internal("a step of {} outputs has {} draws", step.outputs.size(), step.draws.size());
  }
  for (size_t o = 0; o < step.draws.size(); ++o) {
    const DrawRow& row = step.draws[o];
    const int room = row.entries + (row.pending >= 0);  // what the kernel may touch
    const bool right = row.first >= 0 && row.entries >= 0 && row.entries <= kMostEntries && row.steps >= 0 &&
                       row.steps <= kMostDrawSteps && row.pending < before &&
                       static_cast<size_t>(row.first) + static_cast<size_t>(room) <= step.draw_entries.size();
    if (!right) return Internal("draw {} of a step names what does not exist", o);
    const auto run = step.draw_entries.subspan(static_cast<size_t>(row.first), static_cast<size_t>(row.entries));
    for (const DrawEntry& entry : run) {
      if (entry.id < 0 || entry.id >= vocab_) return Internal("an entry of draw {} has id {}", o, entry.id);
    }
  }
  if (step.draw_entries.size() * sizeof(DrawEntry) > entries_.bytes()) {
    return Internal("a step has {} entries of draws", step.draw_entries.size());
  }
  return {};
}

Status DrawStage::Keep(const int* chosen, size_t count) {
  return device_.Copy(previous_.data(), chosen, count * sizeof(int));
}

Status DrawStage::Run(const Step& step, float* logits, int* ids) {
  const int rows = static_cast<int>(step.draws.size());
  UM_RETURN_IF_ERROR(device_.Upload(draws_.data(), step.draws.data(), step.draws.size_bytes()));
  UM_RETURN_IF_ERROR(device_.Upload(entries_.data(), step.draw_entries.data(), step.draw_entries.size_bytes()));
  const DrawArgs args{logits,
                      reinterpret_cast<const DrawRow*>(draws_.data()),
                      reinterpret_cast<DrawEntry*>(entries_.data()),
                      reinterpret_cast<const int*>(previous_.data()),
                      ids,
                      rows,
                      vocab_};
  UM_ASSIGN_OR_RETURN(const Launch launch, LaunchOf(device_, row_, CaseOf(rows, vocab_), args));
  return device_.Run(launch);
}

}  // namespace unimax
