// SPDX-License-Identifier: Apache-2.0
// The hub cache's layout: models--owner--name/{refs/main, snapshots/<revision>/} (huggingface_hub, "Understand
// caching").
#include "engine/model_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/flags.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

// "demo" or "owner/model": at most one slash, and no part that could lead out of a folder.
bool IsModelName(const std::string& name) {
  const auto good = [](std::string_view part) {
    return !part.empty() && part.front() != '.' && part.size() <= 96 &&
           std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
                    c == '_' || c == '-';
           });
  };
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return good(name);
  return good(std::string_view(name).substr(0, slash)) && good(std::string_view(name).substr(slash + 1));
}

// The folder of the snapshot that a cached repository names as its main one; "" when there is none.
std::string Snapshot(const std::string& repository) {
  std::ifstream file(repository + "/refs/main");
  std::string revision;
  if (!(file >> revision) || revision.size() > 96 || !IsModelName(revision)) return "";
  const std::string folder = repository + "/snapshots/" + revision;
  std::error_code error;
  return fs::is_directory(folder, error) ? folder : "";
}

std::string HubFolderName(std::string name) {
  const size_t slash = name.find('/');
  if (slash != std::string::npos) name.replace(slash, 1, "--");
  return "models--" + name;
}

}  // namespace

Result<std::string> ResolveModel(const std::string& name) {
  std::error_code error;
  if (fs::exists(name, error)) return name;
  if (!IsModelName(name)) return IoError("{}: no such file or folder", name);
  std::vector<std::string> looked = {"the working folder"};
  if (const std::string cache = CacheFolder(); !cache.empty()) {
    for (const std::string& path : {cache + "/" + name + ".gguf", cache + "/" + name}) {
      if (fs::exists(path, error)) return path;
    }
    looked.push_back("the model cache " + cache);
  }
  if (const std::string hub = HubCacheFolder(); !hub.empty()) {
    const std::string repository = hub + "/" + HubFolderName(name);
    if (const std::string found = Snapshot(repository); !found.empty()) return found;
    if (fs::exists(repository, error))
      return IoError("{}: {} has no complete snapshot of the revision that its refs/main names", name, repository);
    looked.push_back("the hub's cache " + hub);
  }
  return IoError("{}: no such file, folder or model: looked in {}; ./setup.sh fetches the model called demo", name,
                 fmt::join(looked, ", "));
}

}  // namespace unimax
