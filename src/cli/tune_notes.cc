// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_notes.h"

#include <algorithm>
#include <fstream>

#include "base/log.h"
#include "base/new_file.h"
#include "kernels/plan_table.h"

namespace unimax {
namespace {

constexpr size_t kMostNotes = 10'000;  // lines that are read
constexpr std::string_view kBetween = " | ";

std::string FirstLine(const Limits& limits) {
  const PlanHeader h = PlanHeaderOf(limits);
  return fmt::format("unimax left out 1: version {} rows {} device {} target {}", h.version, h.rows, h.device,
                     h.target);
}

}  // namespace

TuneNotes::TuneNotes(std::string path, const Limits& limits, bool fresh)
    : path_(std::move(path)), first_line_(FirstLine(limits)) {
  std::ifstream file(path_);
  std::string line;
  if (fresh || !std::getline(file, line) || line != first_line_) return;
  while (notes_.size() < kMostNotes && std::getline(file, line)) {
    const size_t first = line.find(kBetween);
    const size_t second = first == line.npos ? first : line.find(kBetween, first + kBetween.size());
    if (second == line.npos) continue;
    const size_t name = first + kBetween.size();
    notes_[{line.substr(0, first), line.substr(name, second - name)}] = line.substr(second + kBetween.size());
  }
}

std::string TuneNotes::WhyNot(const Case& c, const Row& row) const {
  const auto note = notes_.find({row.kernel, PlanCaseName(c)});
  if (note == notes_.end()) return "";
  return fmt::format("left out, since at an earlier start {} (--fresh tries it again)", note->second);
}

Status TuneNotes::Add(const Case& c, const Row& row, const std::string& what) {
  std::string& note = notes_[{row.kernel, PlanCaseName(c)}];
  note = what;
  std::ranges::replace_if(
      note, [](char character) { return static_cast<unsigned char>(character) < ' '; }, ' ');
  std::string text = first_line_ + "\n";
  for (const auto& [where, how] : notes_) {
    text += fmt::format("{}{}{}{}{}\n", where.first, kBetween, where.second, kBetween, how);
  }
  NewFile file("list of rows to leave out");
  UM_RETURN_IF_ERROR(file.Create(path_));
  return file.Write(text);
}

Result<std::vector<TunedRow>> MeasureNoted(Device& device, const Case& c, std::span<const Row* const> rows,
                                           TuneOptions options, TuneGuard& guard, TuneNotes& notes) {
  const Row* trying = nullptr;
  options.watch.why_not = [&](const Row& row) { return notes.WhyNot(c, row); };
  options.watch.trying = [&](const Row* row) {
    trying = row;
    if (row == nullptr) return guard.Working(PlanCaseName(c));
    guard.Trying(fmt::format("{}, {}", PlanCaseName(c), row->kernel),
                 [&notes, &c, row](const std::string& how) { return notes.Add(c, *row, how); });
  };
  Result<std::vector<TunedRow>> tuned = MeasureRows(device, c, rows, options);
  if (!tuned.ok() && trying != nullptr) {
    guard.Working(PlanCaseName(c));
    UM_RETURN_IF_ERROR(notes.Add(c, *trying, std::string(tuned.status().text())));
    LogWarning("{}, {}: the device did not outlive it; start again: it will be left out", PlanCaseName(c),
               trying->kernel);
  }
  return tuned;
}

}  // namespace unimax
