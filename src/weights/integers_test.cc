// SPDX-License-Identifier: Apache-2.0
// Row A02: every integer of a header set to 2^k - 1, 2^k, 2^k + 1. What is accepted must hold in 128-bit arithmetic.
#include <gtest/gtest.h>

#include <algorithm>

#include "weights/gguf.h"
#include "weights/safetensors.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

using Wide = unsigned __int128;

struct Field {
  size_t at;
  int bytes;
};

// Finds the integers of a GGUF header. Trusts the file: it is a good one.
class FieldWalk {
 public:
  explicit FieldWalk(const std::string& file) : file_(file) {
    at_ = 4;
    Take(4);
    const uint64_t tensors = Take(8), keys = Take(8);
    for (uint64_t i = 0; i < keys; ++i) {
      Skip(Take(8));
      Value(Take(4), true);
    }
    for (uint64_t i = 0; i < tensors; ++i) {
      Skip(Take(8));
      const uint64_t dims = Take(4);
      for (uint64_t d = 0; d < dims; ++d) Take(8);
      Take(4);
      Take(8);
    }
  }
  const std::vector<Field>& fields() const { return fields_; }

 private:
  uint64_t Take(int bytes, bool record = true) {
    uint64_t value = 0;
    std::memcpy(&value, file_.data() + at_, static_cast<size_t>(bytes));
    if (record) fields_.push_back({at_, bytes});
    at_ += static_cast<size_t>(bytes);
    return value;
  }
  void Skip(uint64_t bytes) { at_ += bytes; }
  void Value(uint64_t type, bool record) {
    constexpr int kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
      Skip(Take(8, record));
    } else if (type == 9) {
      const uint64_t item = Take(4), count = Take(8);
      for (uint64_t i = 0; i < count; ++i) Value(item, i < 3);
    } else {
      Take(kBytes[type], record && type != 6);
    }
  }

  const std::string& file_;
  size_t at_ = 0;
  std::vector<Field> fields_;
};

// Whether the tensors lie inside `file`, apart, with the bytes of their shapes; counted without wrapping.
bool Holds(std::span<const TensorView> tensors, std::string_view file) {
  std::vector<std::pair<const std::byte*, const std::byte*>> spans;
  const std::byte* begin = AsBytes(file).data();
  for (const TensorView& t : tensors) {
    Wide elements = 1;
    for (const uint64_t d : t.shape) elements *= d;
    const DTypeInfo& info = Info(t.type);
    if (elements / static_cast<unsigned>(info.block_elements) * static_cast<unsigned>(info.block_bytes) !=
        t.bytes.size())
      return false;
    if (t.bytes.data() < begin || t.bytes.data() + t.bytes.size() > begin + file.size()) return false;
    spans.emplace_back(t.bytes.data(), t.bytes.data() + t.bytes.size());
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i].first < spans[i - 1].second) return false;
  return true;
}

TEST(Integers, GgufHeaderFieldsCannotWrap) {
  std::string file = ReadAll(DataPath("gguf/tiny-llama-q4_0.gguf"));
  const FieldWalk walk(file);
  ASSERT_TRUE(GgufFile::Parse(AsBytes(file), "m").ok());
  int files = 0, accepted = 0, wraps = 0;
  for (const Field& field : walk.fields()) {
    const std::string kept = file.substr(field.at, static_cast<size_t>(field.bytes));
    for (int k = 0; k <= 8 * field.bytes; ++k) {
      for (int delta = -1; delta <= 1; ++delta) {
        const auto value = static_cast<uint64_t>((Wide{1} << k) + static_cast<Wide>(static_cast<__int128>(delta)));
        std::memcpy(file.data() + field.at, &value, kept.size());
        ++files;
        const auto parsed = GgufFile::Parse(AsBytes(file), "m");
        if (!parsed.ok()) continue;
        ++accepted;
        wraps += !Holds(parsed->tensors(), file);
        static_cast<void>(ReadGgufVocab(parsed->metadata()).ok());
      }
    }
    file.replace(field.at, kept.size(), kept);
  }
  EXPECT_EQ(wraps, 0);
  EXPECT_GE(files, 5000);
  std::printf("A02 format=gguf files=%d accepted=%d wraps=%d crashes=0 %s\n", files, accepted, wraps,
              wraps == 0 ? "PASS" : "FAIL");
}

TEST(Integers, SafetensorsHeaderFieldsCannotWrap) {
  // Nine numbers; number i is replaced.
  const auto build = [](int replaced, const std::string& text) {
    std::string numbers[] = {"3", "2", "0", "24", "4", "24", "32", "0", "32"};
    numbers[replaced] = text;
    return fmt::format(R"({{"a":{{"dtype":"F32","shape":[{},{}],"data_offsets":[{},{}]}},)"
                       R"("b":{{"dtype":"F16","shape":[{}],"data_offsets":[{},{}]}},)"
                       R"("c":{{"dtype":"BF16","shape":[{},5],"data_offsets":[{},32]}}}})",
                       numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7],
                       numbers[8]);
  };
  const std::string data(32, '\0');
  ASSERT_TRUE(SafetensorsFile::Parse(AsBytes(SafetensorsBytes(build(0, "3"), data)), "m").ok());
  int files = 0, wraps = 0;
  const auto judge = [&](const std::string& file) {
    ++files;
    const auto parsed = SafetensorsFile::Parse(AsBytes(file), "m");
    if (parsed.ok()) wraps += !Holds(parsed->tensors(), file);
  };
  for (int k = 0; k <= 64; ++k) {
    for (int delta = -1; delta <= 1; ++delta) {
      const Wide value = (Wide{1} << k) + static_cast<Wide>(static_cast<__int128>(delta));
      const auto low = static_cast<uint64_t>(value);
      const std::string text =
          value >> 64 == 0 ? fmt::format("{}", low) : fmt::format("1844674407370955161{}", 6 + low);
      for (int i = 0; i < 9; ++i) judge(SafetensorsBytes(build(i, text), data));
      std::string file = SafetensorsBytes(build(0, "3"), data);
      judge(file.replace(0, 8, U64(low)));
    }
  }
  EXPECT_EQ(wraps, 0);
  std::printf("A02 format=safetensors files=%d wraps=%d crashes=0 %s\n", files, wraps, wraps == 0 ? "PASS" : "FAIL");
}

}  // namespace
}  // namespace unimax
