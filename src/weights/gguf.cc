// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "base/json_walk.h"
#include "weights/name_order.h"

namespace unimax {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they lie");

struct TensorType {
  uint32_t id;
  std::string_view name;
  std::optional<DType> type;  // empty: known, not supported
};

// ggml-org/ggml docs/gguf.md, enum ggml_type.
constexpr TensorType kTensorTypes[] = {{0, "F32", DType::kF32},
                                       {1, "F16", DType::kF16},
                                       {2, "Q4_0", DType::kQ4_0},
                                       {3, "Q4_1", DType::kQ4_1},
                                       {4, "Q4_2", {}},
                                       {5, "Q4_3", {}},
                                       {6, "Q5_0", DType::kQ5_0},
                                       {7, "Q5_1", DType::kQ5_1},
                                       {8, "Q8_0", DType::kQ8_0},
                                       {9, "Q8_1", {}},
                                       {10, "Q2_K", {}},
                                       {11, "Q3_K", {}},
                                       {12, "Q4_K", {}},
                                       {13, "Q5_K", {}},
                                       {14, "Q6_K", {}},
                                       {15, "Q8_K", {}},
                                       {16, "IQ2_XXS", {}},
                                       {17, "IQ2_XS", {}},
                                       {18, "IQ3_XXS", {}},
                                       {19, "IQ1_S", {}},
                                       {20, "IQ4_NL", {}},
                                       {21, "IQ3_S", {}},
                                       {22, "IQ2_S", {}},
                                       {23, "IQ4_XS", {}},
                                       {24, "I8", {}},
                                       {25, "I16", {}},
                                       {26, "I32", DType::kI32},
                                       {27, "I64", {}},
                                       {28, "F64", {}},
                                       {29, "IQ1_M", {}},
                                       {30, "BF16", DType::kBF16},
                                       {31, "Q4_0_4_4", {}},
                                       {32, "Q4_0_4_8", {}},
                                       {33, "Q4_0_8_8", {}},
                                       {34, "TQ1_0", {}},
                                       {35, "TQ2_0", {}},
                                       {36, "IQ4_NL_4_4", {}},
                                       {37, "IQ4_NL_4_8", {}},
                                       {38, "IQ4_NL_8_8", {}},
                                       {39, "MXFP4", {}},
                                       {40, "NVFP4", {}}};

const TensorType* FindTensorType(uint32_t id) {
  for (const TensorType& t : kTensorTypes)
    if (t.id == id) return &t;
  return nullptr;
}

// Bytes of a scalar by GgufType; 0 for strings and arrays.
constexpr std::array<uint64_t, 13> kScalarBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

template <class T>
T Load(std::span<const std::byte> bytes, uint64_t at = 0) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes values off the front of a file and says where it stands when one does not fit.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  // What the next reads are about: kind "key", its name if known, its number.
  void About(std::string_view kind, uint64_t index) { kind_ = kind, index_ = index, name_ = {}; }
  void Named(std::string_view name) { name_ = name; }

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  std::span<const std::byte> Since(uint64_t begin) const { return bytes_.subspan(begin, position_ - begin); }

  // "<file>: offset 24: key 2 'general.name': <what>"
  Status Error(std::string_view what) const {
    if (kind_.empty()) return BadModel("{}: offset {}: {}", file_, position_, what);
    if (name_.empty()) return BadModel("{}: offset {}: {} {}: {}", file_, position_, kind_, index_, what);
    return BadModel("{}: offset {}: {} {} '{}': {}", file_, position_, kind_, index_, Printable(name_), what);
  }

  Result<std::span<const std::byte>> Take(uint64_t count, std::string_view field) {
    if (count > left())
      return Error(fmt::format("{} needs {} bytes, {} are left: truncated, end of file", field, count, left()));
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }

  template <class T>
  Result<T> Number(std::string_view field) {
    UM_ASSIGN_OR_RETURN(const auto bytes, Take(sizeof(T), field));
    return Load<T>(bytes);
  }

  Result<std::string_view> String(uint64_t max_bytes, std::string_view field) {
    UM_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(field));
    if (length > max_bytes)
      return Error(fmt::format("{} has length {}, which is too long (at most {})", field, length, max_bytes));
    UM_ASSIGN_OR_RETURN(const auto bytes, Take(length, field));
    return AsText(bytes);
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  uint64_t position_ = 0;
  std::string_view kind_, name_;
  uint64_t index_ = 0;
};

// Sorts `order` over n items by name; the second of two equal names, or n.
template <class NameOf>
size_t SortByName(size_t n, std::vector<uint32_t>* order, NameOf&& name_of) {
  *order = OrderByName(n, name_of);
  for (size_t i = 1; i < n; ++i)
    if (name_of((*order)[i]) == name_of((*order)[i - 1])) return (*order)[i];
  return n;
}

template <class Item, class NameOf>
const Item* FindByName(const std::vector<Item>& items, const std::vector<uint32_t>& order, std::string_view name,
                       NameOf&& name_of) {
  const auto at = std::lower_bound(order.begin(), order.end(), name,
                                   [&](uint32_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  return at != order.end() && name_of(items[*at]) == name ? &items[*at] : nullptr;
}

std::string_view TypeName(GgufType type) {
  constexpr std::string_view kNames[] = {"U8",   "I8",     "U16",   "I16", "U32", "I32", "F32",
                                         "bool", "string", "array", "U64", "I64", "F64"};
  return kNames[static_cast<uint32_t>(type)];
}

}  // namespace

class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), in_(bytes, name) {
    file_.name_ = name;
    file_.metadata_.file_ = name;
  }

  Result<GgufFile> Parse() {
    UM_RETURN_IF_ERROR(Header());
    UM_RETURN_IF_ERROR(Keys());
    UM_RETURN_IF_ERROR(Alignment());
    UM_RETURN_IF_ERROR(Tensors());
    UM_RETURN_IF_ERROR(Spans());
    return std::move(file_);
  }

 private:
  Status Header() {
    if (bytes_.empty()) return in_.Error("the file is empty");
    if (bytes_.size() < 4) return in_.Error("too short for a magic: truncated");
    if (!GgufFile::HasMagic(bytes_)) return in_.Error("bad magic, not a GGUF file");
    UM_ASSIGN_OR_RETURN(const auto magic, in_.Take(4, "magic"));
    static_cast<void>(magic);
    UM_ASSIGN_OR_RETURN(const uint32_t version, in_.Number<uint32_t>("version"));
    if (version != 0 && (version & 0xffffu) == 0)
      return in_.Error(fmt::format("version word {:#x}: big-endian files are not supported", version));
    if (version != 2 && version != 3) return in_.Error(fmt::format("version {} is not supported (2, 3)", version));
    UM_ASSIGN_OR_RETURN(tensor_count_, in_.Number<uint64_t>("tensor count"));
    UM_ASSIGN_OR_RETURN(key_count_, in_.Number<uint64_t>("key count"));
    // The smallest key takes 8 + 1 + 4 + 1 bytes, the smallest tensor 8 + 1 + 4 + 8 + 4 + 8.
    if (key_count_ > in_.left() / 14)
      return in_.Error(fmt::format("key count {} does not fit in the {} bytes left: truncated, end of file", key_count_,
                                   in_.left()));
    if (tensor_count_ > kMaxTensors)
      return in_.Error(fmt::format("tensor count {} is too many (at most {})", tensor_count_, kMaxTensors));
    if (tensor_count_ > in_.left() / 33)
      return in_.Error(fmt::format("tensor count {} does not fit in the {} bytes left: truncated, end of file",
                                   tensor_count_, in_.left()));
    return {};
  }

  Status Keys() {
    std::vector<GgufValue>& values = file_.metadata_.values_;
    for (uint64_t i = 0; i < key_count_; ++i) {
      in_.About("key", i);
      GgufValue value;
      UM_ASSIGN_OR_RETURN(value.key, in_.String(kMaxGgufKeyBytes, "key name"));
      if (value.key.empty()) return in_.Error("empty key name");
      if (!IsPlainUtf8(value.key)) return in_.Error("key name is not UTF-8");
      in_.Named(value.key);
      UM_RETURN_IF_ERROR(Value(&value));
      values.push_back(value);
    }
    in_.About({}, 0);
    const size_t twice = SortByName(values.size(), &file_.metadata_.by_key_, [&](size_t i) { return values[i].key; });
    if (twice < values.size()) return in_.Error(fmt::format("duplicate key '{}'", Printable(values[twice].key)));
    return {};
  }

  Result<GgufType> ValueType(std::string_view field) {
    UM_ASSIGN_OR_RETURN(const uint32_t type, in_.Number<uint32_t>(field));
    if (type >= kScalarBytes.size()) return in_.Error(fmt::format("{} {} is unknown", field, type));
    return static_cast<GgufType>(type);
  }

  Status Value(GgufValue* value) {
    UM_ASSIGN_OR_RETURN(value->type, ValueType("value type"));
    if (value->type == GgufType::kArray) {
      value->is_array = true;
      UM_ASSIGN_OR_RETURN(value->type, ValueType("array item type"));
      if (value->type == GgufType::kArray) return in_.Error("nested arrays are not supported");
      UM_ASSIGN_OR_RETURN(value->count, in_.Number<uint64_t>("array length"));
      if (value->count > kMaxGgufArrayItems)
        return in_.Error(fmt::format("array length {} is too long (at most {})", value->count, kMaxGgufArrayItems));
    }
    const uint64_t begin = in_.position();
    if (value->type == GgufType::kString) {
      for (uint64_t i = 0; i < value->count; ++i) {
        const auto text = in_.String(kMaxGgufStringBytes, value->is_array ? "string in array" : "string");
        if (!text.ok()) return text.status();
      }
    } else {  // count <= 2^24, so the product cannot wrap
      const auto items = in_.Take(value->count * kScalarBytes[static_cast<uint32_t>(value->type)],
                                  value->is_array ? "array" : "value");
      if (!items.ok()) return items.status();
    }
    value->bytes = in_.Since(begin);
    if (value->type == GgufType::kBool)
      for (const std::byte b : value->bytes)
        if (b > std::byte{1}) return in_.Error("a bool is neither 0 nor 1");
    return {};
  }

  Status Alignment() {
    const GgufValue* value = file_.metadata_.Find("general.alignment");
    if (value == nullptr) return {};
    if (value->type != GgufType::kU32 || value->is_array)
      return in_.Error(fmt::format("general.alignment has type {}, not U32", TypeName(value->type)));
    file_.alignment_ = Load<uint32_t>(value->bytes);
    if (file_.alignment_ < 8 || !std::has_single_bit(file_.alignment_))
      return in_.Error(fmt::format("general.alignment {} is not a power of two of at least 8", file_.alignment_));
    return {};
  }

  Status Tensors() {
    std::vector<TensorView>& tensors = file_.tensors_;
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      in_.About("tensor", i);
      TensorView tensor;
      UM_ASSIGN_OR_RETURN(tensor.name, in_.String(kMaxTensorNameBytes, "tensor name"));
      if (tensor.name.empty()) return in_.Error("empty tensor name");
      if (!IsPlainUtf8(tensor.name)) return in_.Error("tensor name is not UTF-8");
      in_.Named(tensor.name);
      UM_RETURN_IF_ERROR(ShapeAndType(&tensor));
      UM_ASSIGN_OR_RETURN(const uint64_t offset, in_.Number<uint64_t>("offset"));
      if (offset % file_.alignment_ != 0)
        return in_.Error(fmt::format("offset {} is not aligned to {}", offset, file_.alignment_));
      offsets_.push_back(offset);
      tensors.push_back(std::move(tensor));
    }
    in_.About({}, 0);
    const size_t twice = SortByName(tensors.size(), &file_.by_name_, [&](size_t i) { return tensors[i].name; });
    if (twice < tensors.size()) return in_.Error(fmt::format("duplicate tensor '{}'", Printable(tensors[twice].name)));
    return {};
  }

  Status ShapeAndType(TensorView* tensor) {
    UM_ASSIGN_OR_RETURN(const uint32_t dims, in_.Number<uint32_t>("number of dimensions"));
    if (dims < 1 || dims > 4) return in_.Error(fmt::format("{} dimensions (1 to 4 are allowed)", dims));
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
      UM_ASSIGN_OR_RETURN(const uint64_t size, in_.Number<uint64_t>("dimension"));
      if (size == 0) return in_.Error("a dimension is zero");
      if (__builtin_mul_overflow(elements, size, &elements)) return in_.Error("the dimensions overflow 64 bits");
      tensor->shape.insert(tensor->shape.begin(), size);
    }
    UM_ASSIGN_OR_RETURN(const uint32_t id, in_.Number<uint32_t>("tensor type"));
    const TensorType* type = FindTensorType(id);
    if (type == nullptr) return in_.Error(fmt::format("type {} is unknown", id));
    if (!type->type) return in_.Error(fmt::format("type {} ({}) is not supported", type->name, id));
    tensor->type = *type->type;
    const DTypeInfo& info = Info(tensor->type);
    const auto block = static_cast<uint64_t>(info.block_elements);
    if (tensor->shape.back() % block != 0)
      return in_.Error(fmt::format("a row of {} elements is not a multiple of the block of {} ({} elements)",
                                   tensor->shape.back(), info.name, block));
    uint64_t size = 0;
    if (__builtin_mul_overflow(elements / block, static_cast<uint64_t>(info.block_bytes), &size))
      return in_.Error("its size in bytes overflows 64 bits");
    sizes_.push_back(size);
    return {};
  }

  // Gives each tensor its bytes: inside the file, none shared.
  Status Spans() {
    const uint64_t begin = (in_.position() + file_.alignment_ - 1) / file_.alignment_ * file_.alignment_;
    file_.data_begin_ = begin;
    if (file_.tensors_.empty()) return {};
    if (begin > bytes_.size()) return in_.Error("no tensor data: truncated, end of file");
    const uint64_t data_bytes = bytes_.size() - begin;
    std::vector<uint32_t> order(file_.tensors_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return offsets_[a] < offsets_[b]; });
    uint64_t free_from = 0;
    for (const uint32_t i : order) {
      TensorView& tensor = file_.tensors_[i];
      in_.About("tensor", i);
      in_.Named(tensor.name);
      if (offsets_[i] > data_bytes || sizes_[i] > data_bytes - offsets_[i])
        return in_.Error(
            fmt::format("its {} bytes at data offset {} end past the {} of the file: truncated, end of file", sizes_[i],
                        offsets_[i], data_bytes));
      if (offsets_[i] < free_from) return in_.Error(fmt::format("data offset {} overlaps another tensor", offsets_[i]));
      free_from = offsets_[i] + sizes_[i];
      tensor.bytes = bytes_.subspan(begin + offsets_[i], sizes_[i]);
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  GgufFile file_;
  Reader in_;
  uint64_t tensor_count_ = 0, key_count_ = 0;
  std::vector<uint64_t> offsets_, sizes_;  // one a tensor, in bytes; offsets count from the data
};

Result<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes, const std::string& name) {
  return GgufParser(bytes, name).Parse();
}

bool GgufFile::HasMagic(std::span<const std::byte> bytes) { return AsText(bytes).substr(0, 4) == "GGUF"; }

const TensorView* GgufFile::Find(std::string_view name) const {
  return FindByName(tensors_, by_name_, name, [](const TensorView& t) { return t.name; });
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  return FindByName(values_, by_key_, key, [](const GgufValue& v) { return v.key; });
}

Result<const GgufValue*> GgufMetadata::Get(std::string_view key, bool is_array, std::string_view wanted) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return BadModel("{}: key {} is missing", file_, key);
  if (value->is_array != is_array)
    return BadModel("{}: key {} has type {}{}, not {}", file_, key, value->is_array ? "array of " : "",
                    TypeName(value->type), wanted);
  return value;
}

Result<int64_t> GgufMetadata::Integer(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, false, "integer"));
  switch (value->type) {
    case GgufType::kU8:
      return static_cast<int64_t>(Load<uint8_t>(value->bytes));
    case GgufType::kI8:
      return static_cast<int64_t>(Load<int8_t>(value->bytes));
    case GgufType::kU16:
      return static_cast<int64_t>(Load<uint16_t>(value->bytes));
    case GgufType::kI16:
      return static_cast<int64_t>(Load<int16_t>(value->bytes));
    case GgufType::kU32:
      return static_cast<int64_t>(Load<uint32_t>(value->bytes));
    case GgufType::kI32:
      return static_cast<int64_t>(Load<int32_t>(value->bytes));
    case GgufType::kI64:
      return Load<int64_t>(value->bytes);
    case GgufType::kU64:
      if (Load<uint64_t>(value->bytes) >> 63 != 0) return BadModel("{}: key {} is above 2^63", file_, key);
      return static_cast<int64_t>(Load<uint64_t>(value->bytes));
    default:
      return BadModel("{}: key {} has type {}, not integer", file_, key, TypeName(value->type));
  }
}

Result<double> GgufMetadata::Number(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, false, "number"));
  if (value->type == GgufType::kF32) return static_cast<double>(Load<float>(value->bytes));
  if (value->type == GgufType::kF64) return Load<double>(value->bytes);
  UM_ASSIGN_OR_RETURN(const int64_t integer, Integer(key));
  return static_cast<double>(integer);
}

Result<bool> GgufMetadata::Bool(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, false, "bool"));
  if (value->type != GgufType::kBool)
    return BadModel("{}: key {} has type {}, not bool", file_, key, TypeName(value->type));
  return Load<uint8_t>(value->bytes) != 0;
}

Result<std::string_view> GgufMetadata::String(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, false, "string"));
  if (value->type != GgufType::kString)
    return BadModel("{}: key {} has type {}, not string", file_, key, TypeName(value->type));
  return AsText(value->bytes.subspan(8));
}

Result<std::vector<std::string_view>> GgufMetadata::Strings(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, true, "array of strings"));
  if (value->type != GgufType::kString)
    return BadModel("{}: key {} has items of type {}, not string", file_, key, TypeName(value->type));
  std::vector<std::string_view> out;
  out.reserve(value->count);       // each has at least its 8 bytes in the file
  Reader in(value->bytes, file_);  // checks again: a mapped file can change
  for (uint64_t i = 0; i < value->count; ++i) {
    UM_ASSIGN_OR_RETURN(const std::string_view text, in.String(kMaxGgufStringBytes, key));
    out.push_back(text);
  }
  return out;
}

Result<std::vector<float>> GgufMetadata::Floats(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, true, "array of F32"));
  if (value->type != GgufType::kF32)
    return BadModel("{}: key {} has items of type {}, not F32", file_, key, TypeName(value->type));
  std::vector<float> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  return out;
}

Result<std::vector<int32_t>> GgufMetadata::Integers(std::string_view key) const {
  UM_ASSIGN_OR_RETURN(const GgufValue* value, Get(key, true, "array of I32"));
  if (value->type != GgufType::kI32 && value->type != GgufType::kU32)
    return BadModel("{}: key {} has items of type {}, not I32", file_, key, TypeName(value->type));
  std::vector<int32_t> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  if (value->type == GgufType::kU32)
    for (const int32_t i : out)
      if (i < 0) return BadModel("{}: key {} has an item above 2^31", file_, key);
  return out;
}

std::string_view GgufTensorTypeName(uint32_t type) {
  const TensorType* found = FindTensorType(type);
  return found != nullptr ? found->name : std::string_view();
}

}  // namespace unimax
