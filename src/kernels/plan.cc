// SPDX-License-Identifier: Apache-2.0
#include "kernels/plan.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace unimax {
namespace {

bool SameWord(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// What may be forced of an op, or the ops of which something may.
std::string Choices(const OpKind* op) {
  std::vector<std::string> words;
  for (const Row& row : GpuRows()) {
    const std::string word = op != nullptr ? row.variant : OpName(row.op);
    if (op != nullptr && row.op != *op) continue;
    if (std::ranges::find(words, word) == words.end()) words.push_back(word);
  }
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Result<ForcedRow> ParseOne(const std::string& part) {
  const size_t equals = part.find('=');
  if (equals == std::string::npos) return UsageError("--force {}: give op=row, as in attention=lazy", part);
  const std::string name = part.substr(0, equals), variant = part.substr(equals + 1);
  bool known = false;
  ForcedRow forced;
  for (const Row& row : GpuRows()) {
    if (!SameWord(name, OpName(row.op))) continue;
    known = true;
    forced.op = row.op;
    if (SameWord(variant, row.variant)) return ForcedRow{row.op, row.variant};
  }
  if (!known) return UsageError("--force {}: no op is called {}; there are {}", part, name, Choices(nullptr));
  return UsageError("--force {}: {} has no row {}; it has {}", part, name, variant, Choices(&forced.op));
}

bool Fits(const Row& row, const Case& wanted, const Limits& limits) {
  // Rows of positions, choice and selection read f32 whatever the activations are.
  const bool wide = wanted.op == OpKind::kAddPosition || wanted.op == OpKind::kSelect || wanted.op == OpKind::kSample;
  return row.op == wanted.op && (wide || row.act == wanted.act) && row.weight == wanted.weight &&
         HasKernel(row, limits) && row.fits(wanted, limits);
}

}  // namespace

Result<std::vector<ForcedRow>> ParseForced(const std::string& text) {
  std::vector<ForcedRow> forced;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    UM_ASSIGN_OR_RETURN(ForcedRow row, ParseOne(part));
    forced.push_back(std::move(row));
  }
  return forced;
}

Planned PlanWith(const Case& wanted, const Limits& limits, std::span<const ForcedRow> forced, const PlanTable* table) {
  for (const ForcedRow& force : forced) {
    if (force.op != wanted.op) continue;
    for (const Row& row : GpuRows()) {
      if (force.variant == row.variant && Fits(row, wanted, limits)) return {&row, PlanSource::kForced};
    }
  }
  if (table != nullptr && wanted.split_tokens == 0) {
    const Row* row = table->Find(wanted);
    if (row != nullptr && Fits(*row, wanted, limits)) return {row, PlanSource::kMeasured};
  }
  for (const Row& row : GpuRows()) {
    if (Fits(row, wanted, limits)) return {&row, PlanSource::kOrder};
  }
  return {};
}

std::vector<const Row*> CandidateRows(const Case& wanted, const Limits& limits) {
  std::vector<const Row*> rows;
  for (const Row& row : GpuRows()) {
    if (!Fits(row, wanted, limits) || std::string_view(row.variant) == "unified") continue;
    if (row.launch(wanted, limits).shared_bytes <= limits.shared_bytes_per_block) rows.push_back(&row);
  }
  return rows;
}

}  // namespace unimax
