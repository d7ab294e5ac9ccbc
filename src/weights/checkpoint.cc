// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/json_walk.h"
#include "weights/name_order.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool IsFile(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::string Join(const std::string& folder, std::string_view name) { return (fs::path(folder) / name).string(); }

std::string FolderOf(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

// Opens a plain file; never waits for a pipe and never reads a device.
Result<MappedFile> OpenPlain(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) return IoError("{}: not a plain file", path);
  return MappedFile::Open(path);
}

// Refuses by content what could run code when opened, or is no model file at all.
Status RefuseForeign(const MappedFile& file) {
  const std::string_view text = AsText(file.bytes());
  const std::string& path = file.path();
  if (text.starts_with("PK\x03\x04") || (text.size() >= 2 && text[0] == '\x80' && text[1] >= 1 && text[1] <= 9))
    return BadModel("{}: bad magic: a pickle can run code and is never opened; use safetensors or GGUF", path);
  if (text.starts_with("#!") ||
      text.starts_with("\x7f"
                       "ELF") ||
      text.starts_with("MZ"))
    return BadModel("{}: bad magic: a program is never opened as a model; use safetensors or GGUF", path);
  return {};
}

// "model-00002-of-00003.safetensors": 3; 0 when the name has another form.
int ShardsByName(std::string_view name) {
  constexpr std::string_view kEnd = ".safetensors", kOf = "-of-";
  if (!name.ends_with(kEnd)) return 0;
  name.remove_suffix(kEnd.size());
  const size_t of = name.rfind(kOf);
  if (of == std::string_view::npos) return 0;
  const std::string_view digits = name.substr(of + kOf.size());
  if (digits.size() != 5) return 0;
  int total = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return 0;
    total = total * 10 + (c - '0');
  }
  return total;
}

Result<SafetensorsIndex> ReadIndex(const std::string& path) {
  UM_ASSIGN_OR_RETURN(const MappedFile file, OpenPlain(path));
  return ParseSafetensorsIndex(AsText(file.bytes()), path);
}

// Files of the folder whose names end in `extension`, sorted.
std::vector<std::string> FilesWith(const std::string& folder, std::string_view extension) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(extension)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<Checkpoint> Checkpoint::Open(const std::string& path) {
  std::error_code error;
  auto checkpoint = fs::is_directory(path, error) ? OpenFolder(path) : OpenFile(path);
  if (!checkpoint.ok()) return checkpoint;
  checkpoint->path_ = path;
  UM_RETURN_IF_ERROR(checkpoint->Finish());
  return checkpoint;
}

Result<Checkpoint> Checkpoint::OpenFile(const std::string& path) {
  UM_ASSIGN_OR_RETURN(MappedFile file, OpenPlain(path));
  Checkpoint checkpoint;
  const std::string name = fs::path(path).filename().string();
  if (GgufFile::HasMagic(file.bytes())) {
    UM_RETURN_IF_ERROR(checkpoint.AddGguf(std::move(file)));
    return checkpoint;
  }
  UM_RETURN_IF_ERROR(RefuseForeign(file));
  if (!SafetensorsFile::LooksRight(file.bytes())) {
    if (name.ends_with(".gguf")) return GgufFile::Parse(file.bytes(), path).status();
    if (name.ends_with(".safetensors")) return SafetensorsFile::Parse(file.bytes(), path).status();
    return BadModel("{}: bad magic: neither GGUF nor a safetensors header", path);
  }
  const std::string folder = FolderOf(path);
  const std::string index_path = Join(folder, kIndexName);
  SafetensorsIndex index;
  if (name != kSingleName && IsFile(index_path)) {
    UM_ASSIGN_OR_RETURN(index, ReadIndex(index_path));
  }
  const bool indexed = std::any_of(index.begin(), index.end(), [&](const auto& entry) { return entry.second == name; });
  if (indexed) {
    UM_RETURN_IF_ERROR(checkpoint.AddShards(folder, index_path, index));
  } else if (const int shards = ShardsByName(name); shards > 1) {
    return BadModel("{}: one of {} shards, and no {} beside it names it", path, shards, kIndexName);
  } else {
    UM_RETURN_IF_ERROR(checkpoint.AddSafetensors(std::move(file)));
  }
  UM_RETURN_IF_ERROR(checkpoint.AddTexts(folder));
  return checkpoint;
}

Result<Checkpoint> Checkpoint::OpenFolder(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator(folder, error);
  if (error) return IoError("{}: cannot read the folder: {}", folder, error.message());
  Checkpoint checkpoint;
  const std::string single = Join(folder, kSingleName), index_path = Join(folder, kIndexName);
  if (IsFile(single)) {
    UM_ASSIGN_OR_RETURN(MappedFile file, OpenPlain(single));
    UM_RETURN_IF_ERROR(checkpoint.AddSafetensors(std::move(file)));
  } else if (IsFile(index_path)) {
    UM_ASSIGN_OR_RETURN(const SafetensorsIndex index, ReadIndex(index_path));
    UM_RETURN_IF_ERROR(checkpoint.AddShards(folder, index_path, index));
  } else {
    const std::vector<std::string> names = FilesWith(folder, ".gguf");
    if (names.size() == 1) return OpenFile(Join(folder, names[0]));
    if (names.size() > 1)
      return BadModel("{}: holds {} GGUF files; name one of them, such as {}", folder, names.size(), names[0]);
    if (!FilesWith(folder, ".bin").empty())
      return BadModel("{}: holds only pickles, which can run code and are never opened; use safetensors or GGUF",
                      folder);
    return BadModel("{}: holds neither {}, nor {}, nor a GGUF file", folder, kSingleName, kIndexName);
  }
  UM_RETURN_IF_ERROR(checkpoint.AddTexts(folder));
  return checkpoint;
}

Status Checkpoint::AddGguf(MappedFile file) {
  kind_ = Kind::kGguf;
  UM_ASSIGN_OR_RETURN(gguf_, GgufFile::Parse(file.bytes(), file.path()));
  if (gguf_->metadata().Has("split.count")) {
    UM_ASSIGN_OR_RETURN(const int64_t parts, gguf_->metadata().Integer("split.count"));
    if (parts > 1)
      return BadModel("{}: key split.count is {}: split GGUF files are not supported, merge them", file.path(), parts);
  }
  tensors_.assign(gguf_->tensors().begin(), gguf_->tensors().end());
  files_.push_back(std::move(file));
  return {};
}

Status Checkpoint::AddSafetensors(MappedFile file) {
  UM_RETURN_IF_ERROR(RefuseForeign(file));
  UM_ASSIGN_OR_RETURN(SafetensorsFile shard, SafetensorsFile::Parse(file.bytes(), file.path()));
  tensors_.insert(tensors_.end(), shard.tensors().begin(), shard.tensors().end());
  shards_.push_back(std::move(shard));
  files_.push_back(std::move(file));
  return {};
}

Status Checkpoint::AddShards(const std::string& folder, const std::string& index_path, const SafetensorsIndex& index) {
  std::vector<std::string_view> shards;
  for (const auto& [tensor, shard] : index) shards.push_back(shard);
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());

  using Place = std::pair<std::string_view, std::string_view>;  // tensor, shard
  std::vector<Place> places;
  for (const std::string_view shard : shards) {
    const std::string path = Join(folder, shard);
    auto file = OpenPlain(path);
    if (!file.ok())
      return BadModel("{}: weight_map names a shard that is not there: {}", index_path, file.status().text());
    UM_RETURN_IF_ERROR(AddSafetensors(std::move(file).value()));
    for (const TensorView& tensor : shards_.back().tensors()) places.emplace_back(tensor.name, shard);
    for (const SkippedTensor& tensor : shards_.back().skipped()) places.emplace_back(tensor.name, shard);
  }
  std::sort(places.begin(), places.end());
  for (const auto& [tensor, shard] : index)
    if (!std::binary_search(places.begin(), places.end(), Place(tensor, shard)))
      return BadModel("{}: weight_map places tensor '{}' in shard {}, which does not hold it", index_path,
                      Printable(tensor), shard);
  return {};
}

Status Checkpoint::AddTexts(const std::string& folder) {
  constexpr std::string_view kNames[kTextFiles] = {"config.json",         "generation_config.json",
                                                   "tokenizer.json",      "tokenizer_config.json",
                                                   "chat_template.jinja", "tokenizer.model"};
  for (int i = 0; i < kTextFiles; ++i) {
    const std::string path = Join(folder, kNames[i]);
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    UM_ASSIGN_OR_RETURN(MappedFile file, OpenPlain(path));
    if (file.bytes().size() > kMaxJsonBytes)
      return BadModel("{}: {} bytes is over {}", path, file.bytes().size(), kMaxJsonBytes);
    texts_[i] = std::move(file);
  }
  return {};
}

Status Checkpoint::Finish() {
  by_name_ = OrderByName(tensors_.size(), [&](size_t i) { return std::string_view(tensors_[i].name); });
  for (size_t i = 1; i < by_name_.size(); ++i)
    if (tensors_[by_name_[i]].name == tensors_[by_name_[i - 1]].name)
      return BadModel("{}: duplicate tensor '{}' in two shards", path_, Printable(tensors_[by_name_[i]].name));
  return {};
}

const TensorView* Checkpoint::Find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

Result<const TensorView*> Checkpoint::Need(std::string_view name) const {
  if (const TensorView* found = Find(name); found != nullptr) return found;
  for (const SafetensorsFile& shard : shards_)
    for (const SkippedTensor& tensor : shard.skipped())
      if (tensor.name == name)
        return BadModel("{}: tensor {} has dtype {}, which is not supported", path_, name, tensor.type);
  return BadModel("{}: tensor {} is missing", path_, name);
}

std::string_view Checkpoint::Text(TextFile which) const {
  return texts_[which] ? AsText(texts_[which]->bytes()) : std::string_view();
}

Result<VocabData> Checkpoint::Vocab() const {
  if (!gguf_) return BadModel("{}: a safetensors model carries no GGUF vocabulary", path_);
  return ReadGgufVocab(gguf_->metadata());
}

uint64_t Checkpoint::file_bytes() const {
  uint64_t sum = 0;
  for (const MappedFile& file : files_) sum += file.bytes().size();
  return sum;
}

void Checkpoint::Forget(const TensorView& tensor) const {
  for (const MappedFile& file : files_) {
    const std::byte* begin = file.bytes().data();
    if (tensor.bytes.data() >= begin && tensor.bytes.data() < begin + file.bytes().size()) file.Forget(tensor.bytes);
  }
}

}  // namespace unimax
