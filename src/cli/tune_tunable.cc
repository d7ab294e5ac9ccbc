// SPDX-License-Identifier: Apache-2.0
#include "cli/tune_tunable.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/flags.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/new_file.h"

namespace unimax {
namespace {

Result<TunableFile> ReadTunable(const std::string& path) {
  UM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  Result<TunableFile> parsed = ParseTunableOp(text);
  if (!parsed.ok()) return parsed.status().At(path);
  return parsed;
}

bool IsArch(std::string_view arch) {
  return arch.starts_with("gfx") && arch.size() < 16 &&
         std::ranges::all_of(arch, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

Status WriteTunable(const std::string& path, const TunableFile& file) {
  NewFile out("file of solutions");
  UM_RETURN_IF_ERROR(out.Create(path));
  return out.Write(PrintTunableOp(file));
}

// What is kept, or nothing where there is no such file, or one that is damaged.
TunableFile KeptAt(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return {};
  Result<TunableFile> kept = ReadTunable(path);
  if (kept.ok()) return std::move(kept).value();
  LogWarning("these solutions are replaced: {}", kept.status().text());
  return {};
}

}  // namespace

std::string TunablePath(std::string_view arch) {
  const std::string cache = CacheFolder();
  return cache.empty() || !IsArch(arch) ? "" : fmt::format("{}/plans/tunableop.{}.csv", cache, arch);
}

Status ImportTunableOp(const std::string& from, const std::string& to) {
  UM_ASSIGN_OR_RETURN(const TunableFile news, ReadTunable(from));
  const std::string arch(news.Arch());
  if (!IsArch(arch)) return BadModel("{}: no GCN_ARCH_NAME says for which GPU its solutions are", from);
  const std::string path = to.empty() ? TunablePath(arch) : to;
  if (path.empty()) return UsageError("there is no model cache: neither HOME nor XDG_CACHE_HOME is set: give --out");
  if (to.empty()) {
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  }
  TunableFile kept = KeptAt(path);
  const bool had = !kept.results.empty();
  if (MergeTunableOp(news, &kept) && had) {
    LogWarning("the solutions that were kept for {} are of other versions of its libraries: they are replaced", arch);
  }
  UM_RETURN_IF_ERROR(WriteTunable(path, kept));
  const auto plain = std::ranges::count_if(kept.results, [](const TunableResult& r) { return r.gemm.has_value(); });
  LogInfo("{}: {} solutions for {}, {} of them of plain products", path, kept.results.size(), arch, plain);
  return {};
}

Status ExportTunableOp(const std::string& to, const std::string& arch, std::span<const Case> cases) {
  const std::string path = TunablePath(arch);
  if (path.empty()) return UsageError("--arch {}: give the GPU's architecture, such as gfx942", arch);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return UsageError("no solutions are kept for {}: import some with --import-tunableop", arch);
  }
  UM_ASSIGN_OR_RETURN(TunableFile file, ReadTunable(path));
  if (!cases.empty()) {
    std::vector<TunableResult> results;
    std::set<std::string> seen;
    size_t known = 0;
    for (const Case& c : cases) {
      if (c.op != OpKind::kLinear) continue;
      TunableResult line = TunableLinear(c.act, c.m, c.n, c.k);
      if (!seen.insert(line.params).second) continue;
      if (const TunableResult* found = file.FindLinear(c.act, c.m, c.n, c.k); found != nullptr) {
        line = *found;
        ++known;
      }
      results.push_back(std::move(line));
    }
    LogInfo("{} products of this model, a solution is known for {}", results.size(), known);
    file.results = std::move(results);
  }
  UM_RETURN_IF_ERROR(WriteTunable(to, file));
  LogInfo("{}: {} lines for {}", to, file.results.size(), arch);
  return {};
}

}  // namespace unimax
