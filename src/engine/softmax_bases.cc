// SPDX-License-Identifier: Apache-2.0
#include "engine/softmax_bases.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/mapped_file.h"

namespace unimax {
namespace {

constexpr std::string_view kFirstLine = "unimax phi 1";

// Sums over rows.
struct Sums {
  explicit Sums(const Program& program)
      : layers(program.layers),
        heads(program.attention.heads),
        kv_heads(program.attention.kv_heads),
        sum(static_cast<size_t>(layers * kv_heads), 0),
        least(sum.size(), std::numeric_limits<float>::infinity()),
        largest(sum.size(), -std::numeric_limits<float>::infinity()) {}

  // `scores`: [layers, tokens, heads].
  Status Add(std::span<const float> scores, int count) {
    const int group = heads / kv_heads;
    for (size_t i = 0; i < scores.size(); ++i) {
      const int head = static_cast<int>(i) % heads, layer = static_cast<int>(i) / heads / count;
      const auto at = static_cast<size_t>(layer * kv_heads + head / group);
      if (!std::isfinite(scores[i])) return Internal("a score of layer {}, head {} is not finite", layer, head);
      sum[at] += static_cast<double>(scores[i]);
      least[at] = std::min(least[at], scores[i]);
      largest[at] = std::max(largest[at], scores[i]);
    }
    tokens += count;
    return {};
  }

  int layers, heads, kv_heads;
  int64_t tokens = 0;
  std::vector<double> sum;
  std::vector<float> least, largest;
};

Status RunWindow(Model& model, std::span<const int> ids, std::span<const int> pages, Sums* sums) {
  const int window = static_cast<int>(ids.size());
  for (int at = 0; at < window;) {
    const int count = std::min(window - at, model.limits().max_tokens);
    std::vector<int> positions(static_cast<size_t>(count)), rows(positions.size(), 0), rope_rows;
    std::iota(positions.begin(), positions.end(), at);
    for (const int p : positions) rope_rows.push_back(RopeRow(model.program(), model.limits(), p, window));
    const auto part = ids.subspan(static_cast<size_t>(at), static_cast<size_t>(count));
    const int last = count - 1;
    UM_RETURN_IF_ERROR(model.executor().Run({part, positions, rows, pages, {&last, 1}, rope_rows}));
    UM_ASSIGN_OR_RETURN(const std::vector<float> scores, model.executor().LargestScores());
    if (scores.empty()) return Internal("{} notes no scores", model.executor().Describe());
    UM_RETURN_IF_ERROR(sums->Add(scores, count));
    at += count;
  }
  return {};
}

// The next word of `line`, as a number.
template <class T>
bool Next(std::string_view* line, T* value) {
  while (line->starts_with(' ')) line->remove_prefix(1);
  const auto [end, error] = std::from_chars(line->data(), line->data() + line->size(), *value);
  if (error != std::errc()) return false;
  line->remove_prefix(static_cast<size_t>(end - line->data()));
  return line->empty() || line->starts_with(' ');
}

bool Skip(std::string_view* line, std::string_view word) {
  while (line->starts_with(' ')) line->remove_prefix(1);
  if (!line->starts_with(word)) return false;
  line->remove_prefix(word.size());
  return true;
}

std::string_view TakeLine(std::string_view* text) {
  const size_t end = std::min(text->find('\n'), text->size());
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return line;
}

}  // namespace

Result<SoftmaxBases> MeasureSoftmaxBases(Model& model, std::span<const int> ids, int window,
                                         const std::function<void(int, int)>& progress) {
  const int windows = static_cast<int>(std::ssize(ids) / window);
  if (windows == 0) {
    return UsageError("the text has {} tokens, a window {}: give a longer text or a smaller --window", ids.size(),
                      window);
  }
  std::vector<int> pages(static_cast<size_t>(model.limits().max_pages));
  std::iota(pages.begin(), pages.end(), 0);
  Sums sums(model.program());
  for (int w = 0; w < windows; ++w) {
    const auto part = ids.subspan(static_cast<size_t>(w) * static_cast<size_t>(window), static_cast<size_t>(window));
    UM_RETURN_IF_ERROR(RunWindow(model, part, pages, &sums));
    if (progress) progress(w + 1, windows);
  }
  const double rows = static_cast<double>(sums.tokens) * sums.heads / sums.kv_heads;
  SoftmaxBases bases{sums.layers, sums.kv_heads, sums.tokens, {}, sums.least, sums.largest};
  for (const double sum : sums.sum) bases.mean.push_back(static_cast<float>(sum / rows));
  return bases;
}

std::string PrintSoftmaxBases(const SoftmaxBases& bases) {
  std::string text =
      fmt::format("{}\nlayers {} kv_heads {} tokens {}\n", kFirstLine, bases.layers, bases.kv_heads, bases.tokens);
  for (size_t i = 0; i < bases.mean.size(); ++i) {
    const auto kv = static_cast<size_t>(bases.kv_heads);
    text += fmt::format("{} {} {} {} {}\n", i / kv, i % kv, bases.mean[i], bases.least[i], bases.largest[i]);
  }
  return text;
}

Result<SoftmaxBases> ParseSoftmaxBases(std::string_view text, const Program& program) {
  if (TakeLine(&text) != kFirstLine) return BadModel("this is no file of eval --measure-phi: no \"{}\"", kFirstLine);
  std::string_view line = TakeLine(&text);
  SoftmaxBases bases;
  if (!Skip(&line, "layers") || !Next(&line, &bases.layers) || !Skip(&line, "kv_heads") ||
      !Next(&line, &bases.kv_heads) || !Skip(&line, "tokens") || !Next(&line, &bases.tokens)) {
    return BadModel("line 2: no \"layers N kv_heads N tokens N\"");
  }
  if (bases.layers != program.layers || bases.kv_heads != program.attention.kv_heads) {
    return BadModel("it is of {} layers with {} KV heads, where the model has {} with {}", bases.layers, bases.kv_heads,
                    program.layers, program.attention.kv_heads);
  }
  for (int i = 0; i < bases.layers * bases.kv_heads; ++i) {
    line = TakeLine(&text);
    int layer = 0, head = 0;
    float mean = 0, least = 0, largest = 0;
    const bool read = Next(&line, &layer) && Next(&line, &head) && Next(&line, &mean) && Next(&line, &least) &&
                      Next(&line, &largest) && line.empty();
    const bool finite = std::isfinite(mean) && std::isfinite(least) && std::isfinite(largest);
    if (!read || !finite || layer != i / bases.kv_heads || head != i % bases.kv_heads) {
      return BadModel("line {}: no five numbers that begin with {} {}", i + 3, i / bases.kv_heads, i % bases.kv_heads);
    }
    bases.mean.push_back(mean);
    bases.least.push_back(least);
    bases.largest.push_back(largest);
  }
  if (!text.empty()) return BadModel("line {}: more than the model has", bases.mean.size() + 3);
  return bases;
}

Result<SoftmaxBases> ReadSoftmaxBases(const std::string& path, const Program& program) {
  UM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  Result<SoftmaxBases> bases = ParseSoftmaxBases(text, program);
  if (!bases.ok()) return bases.status().At(path);
  return bases;
}

}  // namespace unimax
