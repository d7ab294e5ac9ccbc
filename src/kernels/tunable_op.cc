// SPDX-License-Identifier: Apache-2.0
#include "kernels/tunable_op.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

namespace unimax {
namespace {

constexpr size_t kFieldBytes = 256, kRestBytes = 2048;
constexpr size_t kMostLines = 200000;
constexpr std::string_view kGemm = "GemmTunableOp_";

struct TypeWord {
  DType type;
  std::string_view word;
};
constexpr TypeWord kTypes[] = {{DType::kF32, "float"}, {DType::kBF16, "BFloat16"}, {DType::kF16, "Half"}};

// Cuts `text` at its first `mark`; false where there is none.
bool CutAt(std::string_view* text, char mark, std::string_view* head) {
  const size_t at = text->find(mark);
  if (at == text->npos) return false;
  *head = text->substr(0, at);
  text->remove_prefix(at + 1);
  return true;
}

bool ReadInt(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool IsField(std::string_view text, size_t most) {
  return !text.empty() && text.size() <= most && std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

bool ReadLetter(char letter, bool* transposed) {
  *transposed = letter == 't' || letter == 'T';
  return *transposed || letter == 'n' || letter == 'N';
}

// "tn_4096_8_11008_ld_11008_11008_4096", or without its strides.
bool ReadParams(std::string_view text, TunableGemm* g) {
  std::string_view word;
  if (!CutAt(&text, '_', &word) || word.size() != 2) return false;
  if (!ReadLetter(word[0], &g->a_transposed) || !ReadLetter(word[1], &g->b_transposed)) return false;
  std::vector<int64_t> numbers;
  bool strides = false;
  for (bool more = true; more;) {
    more = CutAt(&text, '_', &word);
    if (!more) word = text;
    if (word == "ld" && numbers.size() == 3 && !strides) {
      strides = true;
      continue;
    }
    int64_t value = 0;
    if (!ReadInt(word, &value) || value < 1 || value > INT32_MAX || numbers.size() == 6) return false;
    numbers.push_back(value);
  }
  if (numbers.size() != (strides ? 6u : 3u)) return false;
  g->m = numbers[0];
  g->n = numbers[1];
  g->k = numbers[2];
  const int64_t lda = g->a_transposed ? g->k : g->m, ldb = g->b_transposed ? g->n : g->k;
  g->lda = strides ? numbers[3] : lda;
  g->ldb = strides ? numbers[4] : ldb;
  g->ldc = strides ? numbers[5] : g->m;
  return g->lda >= lda && g->ldb >= ldb && g->ldc >= g->m;
}

// "GemmTunableOp_BFloat16_TN": of another operator or type there is nothing to read.
std::optional<TunableGemm> ReadGemm(const TunableResult& result, bool* wrong) {
  std::string_view op = result.op;
  *wrong = false;
  if (!op.starts_with(kGemm)) return {};
  op.remove_prefix(kGemm.size());
  std::string_view word;
  if (!CutAt(&op, '_', &word)) return {};
  const auto* type = std::ranges::find(kTypes, word, &TypeWord::word);
  if (type == std::end(kTypes)) return {};
  TunableGemm gemm;
  gemm.type = type->type;
  bool a = false, b = false;
  *wrong = op.size() != 2 || !ReadLetter(op[0], &a) || !ReadLetter(op[1], &b) || !ReadParams(result.params, &gemm) ||
           gemm.a_transposed != a || gemm.b_transposed != b;
  return *wrong ? std::optional<TunableGemm>() : gemm;
}

bool ReadMilliseconds(std::string_view text, TunableResult* result) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return false;
  if (!std::isfinite(value) || value < 0) return false;
  result->milliseconds = value;
  return true;
}

Status ReadLine(std::string_view line, size_t number, TunableFile* file) {
  const auto bad = [&](const char* what) { return BadModel("line {}: {}", number, what); };
  std::string_view first, second, third;
  if (!CutAt(&line, ',', &first) || !CutAt(&line, ',', &second)) return bad("fewer than three fields");
  const bool more = CutAt(&line, ',', &third);
  if (!more) third = line;
  if (!IsField(first, kFieldBytes) || !IsField(second, kFieldBytes) || !IsField(third, kFieldBytes)) {
    return bad("a field is empty, too long or not of printable characters");
  }
  if (first == "Validator") {
    if (more) return bad("a validator of more than three fields");
    if (!file->Validator(second).empty()) return bad("a validator that stands there twice");
    file->validators.emplace_back(second, third);
    return {};
  }
  TunableResult result{std::string(first), std::string(second), std::string(third), {}, "", {}};
  if (more) {
    std::string_view time;
    const bool rest = CutAt(&line, ',', &time);
    if (!rest) time = line;
    if (!ReadMilliseconds(time, &result)) return bad("the fourth field is not a time");
    if (rest && !IsField(line, kRestBytes)) return bad("the fifth field is too long or not of printable characters");
    if (rest) result.rest = line;
  }
  bool wrong = false;
  result.gemm = ReadGemm(result, &wrong);
  if (wrong) return bad("the parameters are not those of a product of this operator");
  file->results.push_back(std::move(result));
  return {};
}

}  // namespace

TunableSolution TunableResult::parsed() const {
  TunableSolution found;
  std::string_view text = solution;
  if (text == "Default") return {TunableSolution::kDefault, 0};
  if (ReadInt(text, &found.index)) return {TunableSolution::kRocblas, found.index};  // the oldest files
  const bool rocblas = text.starts_with("Gemm_Rocblas_"), hipblaslt = text.starts_with("Gemm_Hipblaslt_");
  if (!ReadInt(text.substr(text.rfind('_') + 1), &found.index) || (!rocblas && !hipblaslt)) {
    return {TunableSolution::kOther, 0};
  }
  found.library = rocblas ? TunableSolution::kRocblas : TunableSolution::kHipblaslt;
  return found;
}

std::string_view TunableFile::Validator(std::string_view name) const {
  for (const auto& [key, value] : validators) {
    if (key == name) return value;
  }
  return "";
}

std::string_view TunableFile::Arch() const {
  const std::string_view name = Validator("GCN_ARCH_NAME");
  return name.substr(0, name.find(':'));
}

const TunableResult* TunableFile::FindLinear(DType type, int m, int n, int k) const {
  for (const TunableResult& r : results) {
    if (!r.gemm || r.gemm->type != type || !r.gemm->a_transposed || r.gemm->b_transposed) continue;
    const TunableGemm& g = *r.gemm;
    if (g.m == n && g.n == m && g.k == k && g.lda == k && g.ldb == k && g.ldc == n) return &r;
  }
  return nullptr;
}

Result<TunableFile> ParseTunableOp(std::string_view text) {
  if (text.size() > kTunableBytes) return BadModel("{} bytes are more than such a file can have", text.size());
  TunableFile file;
  for (size_t number = 1; !text.empty(); ++number) {
    if (number > kMostLines) return BadModel("more than {} lines", kMostLines);
    std::string_view line = text;
    if (!CutAt(&text, '\n', &line)) text = {};
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) UM_RETURN_IF_ERROR(ReadLine(line, number, &file));
  }
  if (file.validators.empty()) return BadModel("there is no validator: not a file of TunableOp's results");
  return file;
}

std::string PrintTunableOp(const TunableFile& file) {
  std::string text;
  for (const auto& [name, value] : file.validators) text += fmt::format("Validator,{},{}\n", name, value);
  for (const TunableResult& r : file.results) {
    text += fmt::format("{},{},{}", r.op, r.params, r.solution);
    if (r.milliseconds) text += fmt::format(",{}", *r.milliseconds);
    text += r.rest.empty() ? std::string("\n") : fmt::format(",{}\n", r.rest);
  }
  return text;
}

TunableResult TunableLinear(DType type, int m, int n, int k) {
  const auto* word = std::ranges::find(kTypes, type, &TypeWord::type);
  UM_CHECK(word != std::end(kTypes));
  TunableResult result{fmt::format("{}{}_TN", kGemm, word->word),
                       fmt::format("tn_{}_{}_{}_ld_{}_{}_{}", n, m, k, k, k, n),
                       "Default",
                       {},
                       "",
                       {}};
  result.gemm = TunableGemm{type, true, false, n, m, k, k, k, n};
  return result;
}

bool MergeTunableOp(const TunableFile& from, TunableFile* to) {
  const auto sorted = [](const TunableFile& file) {
    return std::map<std::string, std::string>(file.validators.begin(), file.validators.end());
  };
  if (sorted(from) != sorted(*to)) {
    *to = from;
    return true;
  }
  std::map<std::pair<std::string, std::string>, size_t> places;
  for (size_t i = 0; i < to->results.size(); ++i) places[{to->results[i].op, to->results[i].params}] = i;
  for (const TunableResult& r : from.results) {
    const auto [place, fresh] = places.emplace(std::pair(r.op, r.params), to->results.size());
    if (fresh) {
      to->results.push_back(r);
    } else {
      to->results[place->second] = r;
    }
  }
  return false;
}

}  // namespace unimax
