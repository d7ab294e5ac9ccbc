// SPDX-License-Identifier: Apache-2.0
// A model on disk, mapped read-only; its tensors are views into the mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/status.h"
#include "base/vocab.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"
#include "weights/tensor_view.h"

namespace unimax {

// Movable; views stay valid when it moves. Safe for concurrent reads.
class Checkpoint {
 public:
  enum class Kind { kGguf, kSafetensors };

  // `path` is a GGUF file, a safetensors file (its JSON files beside it; one shard of an indexed set opens the set), or
  // a folder with model.safetensors, with shards and model.safetensors.index.json, or with one .gguf file. The kind
  // follows from the content; the name only helps to word errors. Files that can run code are refused. Errors: kIo
  // (missing, unreadable), kBadModel with file, offset and field.
  static Result<Checkpoint> Open(const std::string& path);

  Kind kind() const { return kind_; }
  const std::string& path() const { return path_; }  // as given to Open
  // In file order, shard after shard. Names are spelled as in the file.
  std::span<const TensorView> tensors() const { return tensors_; }
  const TensorView* Find(std::string_view name) const;  // nullptr: none (or of a type that is not supported)
  // As Find; a tensor that is absent, or stored as a type that is not supported, is a kBadModel error that says so.
  Result<const TensorView*> Need(std::string_view name) const;

  const GgufFile* gguf_file() const { return gguf_ ? &*gguf_ : nullptr; }
  const GgufMetadata* gguf() const { return gguf_ ? &gguf_->metadata() : nullptr; }  // nullptr for safetensors
  // The texts of the JSON files beside safetensors, "" when absent and for GGUF. At most 64 MiB each.
  bool has_config_json() const { return texts_[kConfig].has_value(); }
  bool has_tokenizer_json() const { return texts_[kTokenizer].has_value(); }
  bool has_tokenizer_model() const { return texts_[kTokenizerModel].has_value(); }
  std::string_view config_json() const { return Text(kConfig); }
  std::string_view generation_config_json() const { return Text(kGenerationConfig); }
  std::string_view tokenizer_json() const { return Text(kTokenizer); }
  std::string_view tokenizer_model() const { return Text(kTokenizerModel); }  // SentencePiece's; not a text
  std::string_view tokenizer_config_json() const { return Text(kTokenizerConfig); }
  std::string_view chat_template_jinja() const { return Text(kChatTemplate); }  // chat_template.jinja

  // The vocabulary that a GGUF file carries. Errors: kBadModel for safetensors, and as ReadGgufVocab.
  Result<VocabData> Vocab() const;
  std::span<const MappedFile> files() const { return files_; }  // of weights
  // Size of the weight files in bytes.
  uint64_t file_bytes() const;
  // The tensor's pages are no longer needed in memory; reading it again reads the file again.
  void Forget(const TensorView& tensor) const;

 private:
  enum TextFile {
    kConfig,
    kGenerationConfig,
    kTokenizer,
    kTokenizerConfig,
    kChatTemplate,
    kTokenizerModel,
    kTextFiles
  };

  Checkpoint() = default;
  static Result<Checkpoint> OpenFile(const std::string& path);
  static Result<Checkpoint> OpenFolder(const std::string& folder);
  Status AddGguf(MappedFile file);
  Status AddSafetensors(MappedFile file);
  Status AddShards(const std::string& folder, const std::string& index_path, const SafetensorsIndex& index);
  Status AddTexts(const std::string& folder);
  Status Finish();  // sorts the names; refuses duplicates over shards
  std::string_view Text(TextFile which) const;

  Kind kind_ = Kind::kSafetensors;
  std::string path_;
  std::vector<MappedFile> files_;  // weights
  std::optional<MappedFile> texts_[kTextFiles];
  std::optional<GgufFile> gguf_;
  std::vector<SafetensorsFile> shards_;  // own the names
  std::vector<TensorView> tensors_;
  std::vector<uint32_t> by_name_;  // indices of tensors_, sorted by name
};

}  // namespace unimax
