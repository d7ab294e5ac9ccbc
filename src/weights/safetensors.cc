// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/json_walk.h"
#include "weights/gguf.h"

namespace unimax {
namespace {

using Kind = JsonEvent::Kind;

struct DtypeRow {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> type;  // empty: known, not supported
};

// huggingface/safetensors, enum Dtype.
constexpr DtypeRow kDtypes[] = {{"F32", 32, DType::kF32},
                                {"F16", 16, DType::kF16},
                                {"BF16", 16, DType::kBF16},
                                {"I32", 32, DType::kI32},
                                {"BOOL", 8, {}},
                                {"F4", 4, {}},
                                {"F6_E2M3", 6, {}},
                                {"F6_E3M2", 6, {}},
                                {"U8", 8, {}},
                                {"I8", 8, {}},
                                {"F8_E5M2", 8, {}},
                                {"F8_E4M3", 8, {}},
                                {"F8_E8M0", 8, {}},
                                {"I16", 16, {}},
                                {"U16", 16, {}},
                                {"U32", 32, {}},
                                {"F64", 64, {}},
                                {"I64", 64, {}},
                                {"U64", 64, {}},
                                {"C64", 64, {}}};

const DtypeRow* FindDtype(std::string_view name) {
  for (const DtypeRow& row : kDtypes)
    if (row.name == name) return &row;
  return nullptr;
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// One entry of the header. A field that has not been seen, or has another form, stays empty.
struct Entry {
  const std::string* name = nullptr;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape, offsets;
  uint64_t size() const { return (*offsets)[1] - (*offsets)[0]; }
};

constexpr size_t kMaxDims = 8;

// {"name": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"k": "v"}}
class HeaderVisitor : public JsonVisitor {
 public:
  HeaderVisitor(const std::string& file, std::deque<std::string>* names) : file_(file), names_(names) {}
  const std::vector<Entry>& entries() const { return entries_; }

  Status Visit(const JsonEvent& event) override {
    if (event.depth == 0) {
      if (event.kind == Kind::kObject || event.kind == Kind::kEnd) return {};
      return BadModel("{}: header: not a JSON object", file_);
    }
    if (event.depth == 1) return Top(event);
    if (in_metadata_) return Metadata(event);
    return event.depth == 2 ? Field(event) : Item(event);
  }

 private:
  enum class FieldKind { kDtype, kShape, kOffsets, kUnknown };

  Status Error(std::string_view what) const {
    return BadModel("{}: header: tensor '{}': {}", file_, Printable(*entries_.back().name), what);
  }

  Status Top(const JsonEvent& event) {
    if (event.kind == Kind::kKey) {
      in_metadata_ = event.text == "__metadata__";
      if (in_metadata_) {
        if (metadata_seen_) return BadModel("{}: header: duplicate __metadata__", file_);
        metadata_seen_ = true;
        return {};
      }
      if (entries_.size() == kMaxTensors) return BadModel("{}: header: more than {} tensors", file_, kMaxTensors);
      names_->emplace_back(event.text);
      entries_.emplace_back().name = &names_->back();
      if (event.text.empty()) return BadModel("{}: header: empty tensor name", file_);
      if (event.text.size() > kMaxTensorNameBytes) return Error("the name is too long");
      fields_seen_ = 0;
      return {};
    }
    if (event.kind == Kind::kObject || event.kind == Kind::kEnd) return {};
    if (in_metadata_) return BadModel("{}: header: __metadata__ is not an object", file_);
    return Error("not an object");
  }

  Status Metadata(const JsonEvent& event) {
    if (event.kind == Kind::kKey || event.kind == Kind::kString) return {};
    return BadModel("{}: header: __metadata__ has a value that is not a string", file_);
  }

  Status Field(const JsonEvent& event) {
    Entry& entry = entries_.back();
    if (event.kind == Kind::kKey) {
      field_ = event.text == "dtype"          ? FieldKind::kDtype
               : event.text == "shape"        ? FieldKind::kShape
               : event.text == "data_offsets" ? FieldKind::kOffsets
                                              : FieldKind::kUnknown;
      if (field_ == FieldKind::kUnknown) return {};
      const unsigned bit = 1u << static_cast<unsigned>(field_);
      if ((fields_seen_ & bit) != 0) return Error(fmt::format("duplicate field {}", event.text));
      fields_seen_ |= bit;
      return {};
    }
    if (event.kind == Kind::kEnd) return {};
    switch (field_) {
      case FieldKind::kDtype:
        if (event.kind != Kind::kString) return Error("dtype is not a string");
        entry.dtype = event.text;
        return {};
      case FieldKind::kShape:
        if (event.kind != Kind::kArray) return Error("shape is not a list");
        entry.shape.emplace();
        return {};
      case FieldKind::kOffsets:
        if (event.kind != Kind::kArray) return Error("data_offsets is not a list");
        entry.offsets.emplace();
        return {};
      case FieldKind::kUnknown:
        return {};
    }
    return {};
  }

  Status Item(const JsonEvent& event) {
    Entry& entry = entries_.back();
    if (field_ == FieldKind::kUnknown) return {};
    if (field_ == FieldKind::kShape) {
      if (event.kind != Kind::kUnsigned) return Error("shape holds something else than whole numbers");
      if (entry.shape->size() == kMaxDims) return Error(fmt::format("shape has more than {} dimensions", kMaxDims));
      entry.shape->push_back(event.number);
      return {};
    }
    if (event.kind != Kind::kUnsigned) return Error("data_offsets holds something else than whole numbers");
    if (entry.offsets->size() == 2) return Error("data_offsets has more than two numbers");
    entry.offsets->push_back(event.number);
    return {};
  }

  const std::string& file_;
  std::deque<std::string>* names_;
  std::vector<Entry> entries_;
  bool in_metadata_ = false, metadata_seen_ = false;
  FieldKind field_ = FieldKind::kUnknown;
  unsigned fields_seen_ = 0;  // bits by FieldKind
};

// {"metadata": {...}, "weight_map": {"tensor": "file"}}
class IndexVisitor : public JsonVisitor {
 public:
  explicit IndexVisitor(const std::string& file) : file_(file) {}
  bool seen() const { return seen_; }
  SafetensorsIndex& map() { return map_; }

  Status Visit(const JsonEvent& event) override {
    if (event.depth == 0) {
      if (event.kind == Kind::kObject || event.kind == Kind::kEnd) return {};
      return BadModel("{}: not a JSON object", file_);
    }
    if (event.depth == 1) {
      if (event.kind == Kind::kKey) {
        in_map_ = event.text == "weight_map";
        if (in_map_ && seen_) return BadModel("{}: duplicate weight_map", file_);
        seen_ |= in_map_;
        return {};
      }
      if (!in_map_ || event.kind == Kind::kObject || event.kind == Kind::kEnd) return {};
      return BadModel("{}: weight_map is not an object", file_);
    }
    if (!in_map_) return {};
    if (event.kind == Kind::kKey) {
      if (map_.size() == kMaxTensors) return BadModel("{}: weight_map has more than {} tensors", file_, kMaxTensors);
      map_.emplace_back(event.text, "");
      return {};
    }
    if (event.kind != Kind::kString)
      return BadModel("{}: weight_map: '{}' is not the name of a file", file_, Printable(map_.back().first));
    map_.back().second = event.text;
    return CheckShardName(event.text);
  }

 private:
  Status CheckShardName(std::string_view shard) const {
    const bool plain = !shard.empty() && shard.size() <= 255 && shard != "." && shard != ".." &&
                       shard.find_first_of("/\\") == std::string_view::npos && IsPlainUtf8(shard);
    if (plain) return {};
    return BadModel("{}: weight_map: shard '{}' is a path, not the name of a file in the folder", file_,
                    Printable(shard));
  }

  const std::string& file_;
  SafetensorsIndex map_;
  bool in_map_ = false, seen_ = false;
};

}  // namespace

class SafetensorsParser {
 public:
  SafetensorsParser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<SafetensorsFile> Parse() {
    UM_ASSIGN_OR_RETURN(const std::string_view header, Header());
    HeaderVisitor visitor(name_, &file_.names_);
    UM_RETURN_IF_ERROR(WalkJson(header, name_ + ": header", &visitor));
    UM_RETURN_IF_ERROR(Names());
    const std::vector<Entry>& entries = visitor.entries();
    for (const Entry& entry : entries) UM_RETURN_IF_ERROR(CheckEntry(entry));
    UM_RETURN_IF_ERROR(CheckTiling(entries));
    for (const Entry& entry : entries) Add(entry);
    return std::move(file_);
  }

 private:
  Status Error(const Entry& entry, std::string_view what) const {
    return BadModel("{}: tensor '{}': {}", name_, Printable(*entry.name), what);
  }

  Result<std::string_view> Header() {
    if (bytes_.size() < 8) return BadModel("{}: offset 0: header length: too short, truncated", name_);
    uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), 8);
    if (length > kMaxSafetensorsHeader)
      return BadModel("{}: offset 0: header of {} bytes is over {}", name_, length, kMaxSafetensorsHeader);
    if (length > bytes_.size() - 8)
      return BadModel("{}: offset 0: header of {} bytes, {} are left: truncated", name_, length, bytes_.size() - 8);
    file_.data_begin_ = 8 + length;
    const std::string_view header = AsText(bytes_.subspan(8, length));
    if (!header.starts_with('{')) return BadModel("{}: offset 8: header is not a JSON object", name_);
    return header;
  }

  Status Names() const {
    std::vector<std::string_view> sorted(file_.names_.begin(), file_.names_.end());
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice == sorted.end()) return {};
    return BadModel("{}: header: duplicate tensor '{}'", name_, Printable(*twice));
  }

  Status CheckEntry(const Entry& entry) const {
    if (!entry.dtype) return Error(entry, "dtype is missing");
    if (!entry.shape) return Error(entry, "shape is missing");
    if (!entry.offsets || entry.offsets->size() != 2) return Error(entry, "data_offsets are not two numbers");
    const DtypeRow* row = FindDtype(*entry.dtype);
    if (row == nullptr) return Error(entry, fmt::format("dtype '{}' is unknown", Printable(*entry.dtype)));
    const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
    const uint64_t data_bytes = bytes_.size() - file_.data_begin_;
    if (end < begin) return Error(entry, fmt::format("data_offsets {} to {} are reversed", begin, end));
    uint64_t bits = row->bits;
    for (const uint64_t d : *entry.shape)
      if (__builtin_mul_overflow(bits, d, &bits)) return Error(entry, "the size of its shape overflows 64 bits");
    if (bits % 8 != 0 || bits / 8 != entry.size())
      return Error(entry, fmt::format("size mismatch: shape and dtype need {} bytes, data_offsets give {}", bits / 8,
                                      entry.size()));
    if (end > data_bytes)
      return Error(entry, fmt::format("data_offsets {} to {} are out of range: {} bytes of data, truncated", begin, end,
                                      data_bytes));
    return {};
  }

  // Sorted by place, each tensor begins where the one before it ends, and the last ends with the file.
  Status CheckTiling(const std::vector<Entry>& entries) const {
    std::vector<const Entry*> order;
    for (const Entry& entry : entries) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) { return *a->offsets < *b->offsets; });
    uint64_t expected = 0;
    for (const Entry* entry : order) {
      const uint64_t begin = (*entry->offsets)[0];
      if (begin < expected) return Error(*entry, fmt::format("data_offsets begin at {}: overlap", begin));
      if (begin > expected)
        return Error(*entry, fmt::format("data_offsets leave a hole of {} bytes before {}", begin - expected, begin));
      expected = (*entry->offsets)[1];
    }
    const uint64_t data_bytes = bytes_.size() - file_.data_begin_;
    if (expected == data_bytes) return {};
    return BadModel("{}: offset {}: {} trailing bytes after the last tensor", name_, file_.data_begin_ + expected,
                    data_bytes - expected);
  }

  void Add(const Entry& entry) {
    const DtypeRow* row = FindDtype(*entry.dtype);
    if (!row->type) {
      file_.skipped_.push_back({*entry.name, row->name});
      return;
    }
    TensorView tensor;
    tensor.name = *entry.name;
    tensor.type = *row->type;
    tensor.shape = *entry.shape;
    tensor.bytes = bytes_.subspan(file_.data_begin_ + (*entry.offsets)[0], entry.size());
    file_.tensors_.push_back(std::move(tensor));
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  SafetensorsFile file_;
};

Result<SafetensorsFile> SafetensorsFile::Parse(std::span<const std::byte> bytes, const std::string& name) {
  return SafetensorsParser(bytes, name).Parse();
}

bool SafetensorsFile::LooksRight(std::span<const std::byte> bytes) {
  if (bytes.size() < 9 || bytes[8] != std::byte{'{'}) return false;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  return length <= kMaxSafetensorsHeader;
}

Result<SafetensorsIndex> ParseSafetensorsIndex(std::string_view text, const std::string& name) {
  if (text.size() > kMaxJsonBytes) return BadModel("{}: {} bytes is over {}", name, text.size(), kMaxJsonBytes);
  IndexVisitor visitor(name);
  UM_RETURN_IF_ERROR(WalkJson(text, name, &visitor));
  if (!visitor.seen()) return BadModel("{}: weight_map is missing", name);
  if (visitor.map().empty()) return BadModel("{}: weight_map is empty", name);
  std::vector<std::string_view> names;
  for (const auto& entry : visitor.map()) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return BadModel("{}: weight_map: duplicate tensor '{}'", name, Printable(*twice));
  return std::move(visitor.map());
}

}  // namespace unimax
