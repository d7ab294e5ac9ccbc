// SPDX-License-Identifier: Apache-2.0
#include "engine/model_text.h"

#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTextBytes = 64u << 20;

// The files beside the weights; "" where one is missing.
struct TextFiles {
  std::string_view tokenizer, tokenizer_config, chat_template, generation_config;
  std::string tokenizer_name;  // for errors
};

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool StartsWith(std::span<const int> ids, std::span<const int> part) {
  return ids.size() >= part.size() && std::equal(part.begin(), part.end(), ids.begin());
}
bool EndsWith(std::span<const int> ids, std::span<const int> part) {
  return ids.size() >= part.size() && std::equal(part.rbegin(), part.rend(), ids.rbegin());
}

// What the tokenizer puts around a text, seen on a text of one letter.
void LearnSurroundings(ModelText* text) {
  const std::vector<int> bare = text->tokenizer->Encode("a", false), full = text->tokenizer->Encode("a", true);
  const auto at = std::search(full.begin(), full.end(), bare.begin(), bare.end());
  if (at == full.end() || bare.empty()) return;
  text->before.assign(full.begin(), at);
  text->after.assign(at + static_cast<ptrdiff_t>(bare.size()), full.end());
}

void TakeTemplate(std::string source, std::string_view from, ModelText* text) {
  if (source.empty()) return;
  text->chat_from = from;
  auto made = ChatTemplate::Parse(std::move(source));
  text->chat_error = made.status();
  if (made.ok()) text->chat_template = std::move(made).value();
}

Result<ModelText> FromGguf(const Checkpoint& checkpoint) {
  ModelText text;
  UM_ASSIGN_OR_RETURN(const VocabData vocab, checkpoint.Vocab());
  UM_ASSIGN_OR_RETURN(text.tokenizer, Tokenizer::FromVocab(vocab));
  text.kind = "GGUF " + vocab.model;
  const auto piece = [&](int id) { return std::string(id < 0 ? "" : text.tokenizer->PieceOf(id)); };
  text.bos_token = piece(vocab.bos);
  text.eos_token = piece(vocab.eos);
  TakeTemplate(vocab.chat_template, "tokenizer.chat_template of the GGUF file", &text);
  LearnSurroundings(&text);
  return text;
}

Result<ModelText> FromFiles(const TextFiles& files) {
  ModelText text;
  UM_ASSIGN_OR_RETURN(TokenizerConfig config, ReadTokenizerConfig(files.tokenizer_config));
  UM_ASSIGN_OR_RETURN(text.sampling, ReadSamplingDefaults(files.generation_config));
  text.bos_token = std::move(config.bos_token);
  text.eos_token = std::move(config.eos_token);
  const bool own_file = !files.chat_template.empty();  // the newer place counts more
  if (own_file) config.chat_template = files.chat_template;
  TakeTemplate(std::move(config.chat_template), own_file ? "chat_template.jinja" : "tokenizer_config.json", &text);
  if (files.tokenizer_name.empty()) return text;
  UM_ASSIGN_OR_RETURN(text.tokenizer, TokenizerFromFile(files.tokenizer, files.tokenizer_name, config));
  text.kind = fs::path(files.tokenizer_name).filename().string();
  LearnSurroundings(&text);
  return text;
}

// The files of a folder as texts, mapped as long as this lives.
class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  Result<std::string_view> Read(const char* name) {
    const std::string path = (fs::path(path_) / name).string();
    std::error_code error;
    if (!fs::is_regular_file(path, error)) return std::string_view();
    UM_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
    if (file.bytes().size() > kMaxTextBytes)
      return BadModel("{}: {} bytes is over {}", path, file.bytes().size(), kMaxTextBytes);
    files_.push_back(std::move(file));
    return AsText(files_.back().bytes());
  }

 private:
  std::string path_;
  std::vector<MappedFile> files_;
};

Result<ModelText> FromFolder(const std::string& path, const std::string& tokenizer_name) {
  Folder folder(path);
  TextFiles files;
  if (!tokenizer_name.empty()) {
    UM_ASSIGN_OR_RETURN(files.tokenizer, folder.Read(tokenizer_name.c_str()));
  }
  UM_ASSIGN_OR_RETURN(files.tokenizer_config, folder.Read("tokenizer_config.json"));
  UM_ASSIGN_OR_RETURN(files.chat_template, folder.Read("chat_template.jinja"));
  UM_ASSIGN_OR_RETURN(files.generation_config, folder.Read("generation_config.json"));
  if (!tokenizer_name.empty()) files.tokenizer_name = (fs::path(path) / tokenizer_name).string();
  return FromFiles(files);
}

// The tokenizer's file in a folder, the better kind first; "" when it holds none.
std::string TokenizerFileIn(const std::string& folder) {
  std::error_code error;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::is_regular_file(fs::path(folder) / name, error)) return name;
  }
  return "";
}

}  // namespace

std::vector<int> ModelText::EncodeText(std::string_view text, bool add_special) const {
  std::vector<int> ids = tokenizer->Encode(text, add_special);
  if (!add_special) return ids;
  // Where the text spells BOS or EOS itself, what was added is taken back.
  const std::span<const int> all(ids);
  if (!before.empty() && StartsWith(all, before) && StartsWith(all.subspan(before.size()), before))
    ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(before.size()));
  const std::span<const int> rest(ids);
  if (!after.empty() && EndsWith(rest, after) && EndsWith(rest.first(rest.size() - after.size()), after))
    ids.resize(ids.size() - after.size());
  return ids;
}

std::vector<int> ModelText::EncodeChat(const Rendered& rendered, bool open) const {
  const std::vector<TextPiece> pieces = rendered.Pieces();
  std::vector<int> ids = tokenizer->EncodeParts(pieces, false);
  if (!StartsWith(ids, before)) ids.insert(ids.begin(), before.begin(), before.end());
  if (!open && !EndsWith(ids, after)) ids.insert(ids.end(), after.begin(), after.end());
  return ids;
}

Result<ModelText> ReadModelText(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::kGguf) return FromGguf(checkpoint);
  std::error_code error;
  const bool is_folder = fs::is_directory(checkpoint.path(), error);
  const fs::path parent = fs::path(checkpoint.path()).parent_path();
  const std::string folder = is_folder ? checkpoint.path() : parent.empty() ? "." : parent.string();
  return FromFolder(folder, TokenizerFileIn(folder));
}

Result<ModelText> OpenModelText(const std::string& path) {
  std::error_code error;
  const fs::path file(path);
  if (fs::is_directory(path, error)) {
    if (const std::string name = TokenizerFileIn(path); !name.empty()) return FromFolder(path, name);
  } else if (file.extension() == ".json" || file.extension() == ".model") {
    const std::string folder = file.parent_path().empty() ? "." : file.parent_path().string();
    if (!fs::is_regular_file(path, error)) return IoError("{}: not a plain file", path);
    return FromFolder(folder, file.filename().string());
  }
  UM_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
  return ReadModelText(checkpoint);
}

}  // namespace unimax
