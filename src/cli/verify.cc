// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <vector>

#include "cli/command.h"
#include "cli/digest.h"
#include "cli/input.h"
#include "engine/model_cache.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSums = 64u << 20;

struct VerifyOptions {
  std::string path, digest, sums;
  bool json = false, quiet = false;
};

struct Wanted {
  std::string name, digest;
};

bool IsDigest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Whether a manifest's name stays inside the manifest's folder.
bool StaysInside(const fs::path& name) {
  return !name.empty() && name.is_relative() && std::find(name.begin(), name.end(), "..") == name.end();
}

// Lines as sha256sum writes them: digest, space, space or star, name.
Result<std::vector<Wanted>> ReadSums(const std::string& path) {
  UM_ASSIGN_OR_RETURN(const std::string text, ReadInput(path, kMaxSums));
  std::vector<Wanted> wanted;
  std::set<std::string> names;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    const bool formed = line.size() > 66 && line[64] == ' ' && (line[65] == ' ' || line[65] == '*');
    Wanted entry{formed ? line.substr(66) : "", Lower(line.substr(0, 64))};
    if (!formed || !IsDigest(entry.digest))
      return BadModel("{}: line {} is not a SHA-256 digest, two spaces and a name, as sha256sum writes it", path,
                      number);
    if (!StaysInside(entry.name)) return BadModel("{}: line {} names a file outside of the folder", path, number);
    if (!names.insert(entry.name).second) return BadModel("{}: line {} names {} again", path, number, entry.name);
    wanted.push_back(std::move(entry));
  }
  if (wanted.empty()) return BadModel("{}: holds no digest", path);
  return wanted;
}

// What is to be compared: full paths and digests.
Result<std::vector<Wanted>> Plan(const VerifyOptions& options, const std::string& path) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  if (!options.digest.empty()) {
    const std::string digest =
        Lower(options.digest.rfind("sha256:", 0) == 0 ? options.digest.substr(7) : options.digest);
    if (!IsDigest(digest))
      return UsageError("{}: not a SHA-256 digest, which has 64 hexadecimal digits", options.digest);
    if (folder) return UsageError("{}: is a folder; give --sha256 and a file of digests", path);
    return std::vector<Wanted>{{path, digest}};
  }
  UM_ASSIGN_OR_RETURN(std::vector<Wanted> wanted, ReadSums(options.sums));
  if (folder) {
    for (Wanted& entry : wanted) entry.name = (fs::path(path) / entry.name).string();
    return wanted;
  }
  const std::string name = fs::path(path).filename().string();
  for (const Wanted& entry : wanted)
    if (fs::path(entry.name).filename().string() == name) return std::vector<Wanted>{{path, entry.digest}};
  return BadModel("{}: names no file called {}", options.sums, name);
}

Result<std::string> DigestOf(const std::string& path, bool show) {
  std::error_code error;
  if (!fs::exists(path, error)) return IoError("{}: no such file", path);
  if (!fs::is_regular_file(path, error)) return IoError("{}: not a plain file", path);
  const auto total = static_cast<double>(std::max<uintmax_t>(fs::file_size(path, error), 1));
  const auto progress = [&](uint64_t done) {
    if (show) std::fprintf(stderr, "\r%s: %3.0f %%", path.c_str(), 100 * static_cast<double>(done) / total);
  };
  auto digest = FileDigest(path, progress);
  if (show) std::fprintf(stderr, "\r\033[K");
  return digest;
}

Status Verify(const VerifyOptions& options) {
  if (options.digest.empty() == options.sums.empty())
    return UsageError("give a digest, or --sha256 and a file of digests, one of them");
  UM_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.path));
  UM_ASSIGN_OR_RETURN(const std::vector<Wanted> wanted, Plan(options, path));
  const bool show = ::isatty(STDERR_FILENO) != 0 && !options.quiet && !options.json;
  Status first;  // every file is looked at; the first that is wrong is the result
  size_t bad = 0;
  std::string files;
  for (const Wanted& entry : wanted) {
    auto digest = DigestOf(entry.name, show);
    Status status = digest.status();
    if (digest.ok() && *digest != entry.digest)
      status = BadModel("{}: its SHA-256 is {}, not {}: the file was changed or cut, fetch it again", entry.name,
                        *digest, entry.digest);
    files += fmt::format("{}{{\"file\": {}, \"sha256\": {}, \"pass\": {}}}", files.empty() ? "" : ", ",
                         JsonString(entry.name), digest.ok() ? JsonString(*digest) : "null", status.ok());
    if (!options.json && !options.quiet && (status.ok() || wanted.size() > 1))
      PrintLine(fmt::format("{}: {}", entry.name, status.ok() ? "OK" : "FAILED"));
    bad += status.ok() ? 0 : 1;
    if (first.ok()) first = status;
  }
  if (options.json)
    PrintLine(fmt::format("{{\"files\": [{}], \"compared\": {}, \"failed\": {}}}", files, wanted.size(), bad));
  return first;
}

}  // namespace

std::unique_ptr<Command> AddVerify(CLI::App& app) {
  auto command = std::make_unique<CommandOf<VerifyOptions>>(
      app.add_subcommand("verify", "compare a file's SHA-256 with a digest"), &Verify);
  CLI::App* verify = &command->app();
  VerifyOptions& options = command->options();
  verify->footer(
      "Examples:\n  unimax verify demo b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53\n"
      "  unimax verify model.gguf --sha256 SHA256SUMS\n  unimax verify folder --sha256 folder/SHA256SUMS\n"
      "With a folder, every file that the list names is compared. Exit status: 0 all equal, 65 one differs (it is\n"
      "named), 74 one cannot be read.");
  verify->add_option("model", options.path, "a file, a folder, or a name in the model cache")->required();
  auto* digest = verify->add_option("digest", options.digest, "the SHA-256 that the file must have, in hexadecimal");
  verify->add_option("--sha256", options.sums, "a file of digests and names, as sha256sum writes it; - for stdin")
      ->excludes(digest);
  verify->add_flag("--json", options.json, "one JSON object instead of text");
  verify->add_flag("-q,--quiet", options.quiet, "print nothing but an error");
  return command;
}

}  // namespace unimax
