// SPDX-License-Identifier: Apache-2.0
#include "exec/plan_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/flags.h"
#include "base/log.h"

namespace unimax {
namespace {

// A name of a device as part of a file's name.
std::string FileName(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
    const char plain = letter ? static_cast<char>(c | 0x20) : digit || c == '_' ? c : '-';
    if (plain != '-' || (!text.empty() && text.back() != '-')) text += plain;
  }
  return text;
}

// At most one byte more than a plan can have. Errors: kIo, the path first.
Result<std::string> ReadPlan(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return IoError("{}: cannot open the plan: {}", path, std::strerror(errno));
  std::string text(kPlanBytes + 1, '\0');
  size_t size = 0;
  ssize_t got = 1;
  while (got > 0 && size < text.size()) {
    got = ::read(file, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got > 0)
      size += static_cast<size_t>(got);
  }
  const int why = errno;
  ::close(file);
  if (got < 0) return IoError("{}: cannot read the plan: {}", path, std::strerror(why));
  text.resize(size);
  return text;
}

std::optional<PlanTable> FromBuiltIn(std::span<const std::string_view> built_in, const Limits& limits) {
  for (const std::string_view text : built_in) {
    Result<PlanFile> file = ParsePlan(text);
    if (!file.ok()) continue;
    // It stands in the source beside the rows: one that was added since is taken where nothing was measured.
    const PlanHeader here = PlanHeaderOf(limits);
    file->header.version = here.version;
    file->header.rows = here.rows;
    if (CheckPlanHeader(file->header, limits).ok()) return PlanTable(*file);
  }
  return {};
}

}  // namespace

std::string PlanPath(const Limits& limits) {
  const std::string cache = CacheFolder();
  return cache.empty() ? "" : fmt::format("{}/plans/{}.{}.plan", cache, FileName(limits.name), limits.target);
}

Result<PlanFile> ReadPlanFor(const std::string& path, const Limits& limits) {
  UM_ASSIGN_OR_RETURN(const std::string text, ReadPlan(path));
  Result<PlanFile> file = ParsePlan(text);
  if (!file.ok()) return file.status().At(path);
  if (const Status holds = CheckPlanHeader(file->header, limits); !holds.ok()) return holds.At(path);
  return file;
}

Result<std::optional<PlanTable>> FindPlan(const std::string& given, const Limits& limits,
                                          std::span<const std::string_view> built_in) {
  if (given == "none") return std::optional<PlanTable>();
  const std::string path = given.empty() ? PlanPath(limits) : given;
  struct stat found {};
  if (!given.empty() || (!path.empty() && ::stat(path.c_str(), &found) == 0)) {
    const Result<PlanFile> file = ReadPlanFor(path, limits);
    if (file.ok()) {
      LogInfo("the plan has {} measured cases ({})", file->entries.size(), path);
      return std::optional<PlanTable>(PlanTable(*file));
    }
    if (!given.empty() && file.status().kind() == ErrorKind::kIo) return file.status();
    LogWarning("this plan is left out: {}", file.status().text());
  }
  std::optional<PlanTable> own = FromBuiltIn(built_in, limits);
  if (own) LogInfo("the plan has {} cases measured on this kind of device (built in)", own->size());
  return own;
}

}  // namespace unimax
