// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <gtest/gtest.h>

#include "weights/test_files.h"

namespace unimax {
namespace {

TEST(Checkpoint, ReadsGgufInEveryTypeOfLayout) {
  const std::pair<const char*, DType> files[] = {{"f32", DType::kF32},   {"f16", DType::kF16},   {"bf16", DType::kBF16},
                                                 {"q8_0", DType::kQ8_0}, {"q4_0", DType::kQ4_0}, {"q4_1", DType::kQ4_1},
                                                 {"q5_0", DType::kQ5_0}, {"q5_1", DType::kQ5_1}};
  for (const auto& [name, type] : files) {
    const auto checkpoint = Checkpoint::Open(DataPath(fmt::format("gguf/tiny-llama-{}.gguf", name)));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().text();
    EXPECT_EQ(checkpoint->kind(), Checkpoint::Kind::kGguf);
    EXPECT_EQ(checkpoint->tensors().size(), 20u);
    const TensorView* up = checkpoint->Find("blk.1.ffn_up.weight");
    ASSERT_NE(up, nullptr);
    EXPECT_EQ(up->type, type);
    EXPECT_EQ(up->shape, (std::vector<uint64_t>{32, 64}));
    EXPECT_EQ(up->bytes.size(), 32 * RowBytes(type, 64));
    EXPECT_EQ(checkpoint->Find("output_norm.weight")->type, DType::kF32);
    EXPECT_EQ(checkpoint->Find("no.such.tensor"), nullptr);
    EXPECT_EQ(checkpoint->config_json(), "");
    checkpoint->Forget(*up);
  }
}

TEST(Checkpoint, GivesTheVocabularyOfGguf) {
  const auto checkpoint = Checkpoint::Open(DataPath("gguf/tiny-llama-q8_0.gguf"));
  ASSERT_TRUE(checkpoint.ok());
  const auto vocab = checkpoint->Vocab();
  ASSERT_TRUE(vocab.ok()) << vocab.status().text();
  EXPECT_EQ(vocab->model, "gpt2");
  EXPECT_EQ(vocab->pre, "gpt-2");
  EXPECT_EQ(vocab->tokens.size(), 384u);
  EXPECT_EQ(vocab->tokens[1], "<|bos|>");
  EXPECT_EQ(vocab->types.size(), 384u);
  EXPECT_FALSE(vocab->merges.empty());
  EXPECT_EQ(vocab->bos, 1);
  EXPECT_EQ(vocab->eos, 2);
  EXPECT_EQ(vocab->padding, 0);
  EXPECT_EQ(vocab->unknown, -1);
  EXPECT_TRUE(vocab->add_bos);
  EXPECT_NE(vocab->chat_template.find("<|im_start|>"), std::string::npos);
  // Metadata is typed.
  const GgufMetadata& metadata = *checkpoint->gguf();
  EXPECT_EQ(metadata.Integer("llama.block_count").value(), 2);
  EXPECT_EQ(metadata.Number("llama.rope.freq_base").value(), 10000.0);
  EXPECT_FALSE(metadata.Integer("general.architecture").ok());
  EXPECT_FALSE(metadata.Strings("llama.block_count").ok());
}

TEST(Checkpoint, ReadsFoldersFilesAndShards) {
  auto single = Checkpoint::Open(DataPath("models/llama_tied"));
  ASSERT_TRUE(single.ok()) << single.status().text();
  const auto file = Checkpoint::Open(DataPath("models/llama_tied/model.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().text();
  const auto sharded = Checkpoint::Open(DataPath("models/llama_sharded"));
  ASSERT_TRUE(sharded.ok()) << sharded.status().text();
  EXPECT_EQ(sharded->kind(), Checkpoint::Kind::kSafetensors);
  EXPECT_FALSE(sharded->Vocab().ok());
  EXPECT_NE(sharded->tokenizer_json(), "");
  EXPECT_NE(sharded->generation_config_json(), "");
  EXPECT_EQ(single->tokenizer_json(), "");
  EXPECT_EQ(single->config_json(), sharded->config_json());
  const Checkpoint moved = std::move(single).value();
  ASSERT_EQ(moved.tensors().size(), sharded->tensors().size());
  for (const TensorView& tensor : moved.tensors()) {
    const TensorView* other = sharded->Find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(other->shape, tensor.shape);
    ASSERT_TRUE(std::equal(tensor.bytes.begin(), tensor.bytes.end(), other->bytes.begin(), other->bytes.end()));
  }
}

TEST(Checkpoint, AnyShardOpensTheWholeSet) {
  for (int i = 1; i <= 3; ++i) {
    const auto checkpoint =
        Checkpoint::Open(DataPath(fmt::format("models/llama_sharded/model-0000{}-of-00003.safetensors", i)));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().text();
    EXPECT_EQ(checkpoint->tensors().size(), 20u);
  }
}

TEST(Checkpoint, FolderWithOneGgufFile) {
  const TempFolder folder("one");
  std::filesystem::copy(DataPath("gguf/tiny-llama-q4_0.gguf"), folder.File("a.gguf"));
  const auto one = Checkpoint::Open(folder.path());
  ASSERT_TRUE(one.ok()) << one.status().text();
  EXPECT_EQ(one->kind(), Checkpoint::Kind::kGguf);
  std::filesystem::copy(DataPath("gguf/tiny-llama-q4_0.gguf"), folder.File("b.gguf"));
  EXPECT_FALSE(Checkpoint::Open(folder.path()).ok());
  // Content decides, not the name.
  std::filesystem::rename(folder.File("b.gguf"), folder.File("b.safetensors"));
  const auto renamed = Checkpoint::Open(folder.File("b.safetensors"));
  ASSERT_TRUE(renamed.ok()) << renamed.status().text();
  EXPECT_EQ(renamed->kind(), Checkpoint::Kind::kGguf);
}

TEST(Checkpoint, SaysWhyATensorCannotBeUsed) {
  const TempFolder folder("needs");
  WriteAll(folder.File("m.safetensors"),
           SafetensorsBytes(R"({"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", std::string(8, '\0')));
  const auto checkpoint = Checkpoint::Open(folder.File("m.safetensors"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().text();
  EXPECT_NE(checkpoint->Need("w").status().text().find("F64"), std::string_view::npos);
  EXPECT_NE(checkpoint->Need("v").status().text().find("missing"), std::string_view::npos);
}

TEST(Gguf, NamesTypesThatAreNotSupported) {
  const std::string file = GgufBytes({}, {GgufTensor("w", {256, 1}, 10, 0)}, std::string(84, '\0'));
  const auto parsed = GgufFile::Parse(AsBytes(file), "m.gguf");
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.status().text().find("Q2_K (10) is not supported"), std::string_view::npos)
      << parsed.status().text();
  EXPECT_EQ(GgufTensorTypeName(30), "BF16");
  EXPECT_EQ(GgufTensorTypeName(999), "");
}

TEST(Gguf, ErrorsCarryFileOffsetAndField) {
  const std::string file = GgufBytes({GgufU32("a", 1), GgufText("b", "text").substr(0, 20)}, {});
  const auto parsed = GgufFile::Parse(AsBytes(file), "m.gguf");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().text(),
            "m.gguf: offset 54: key 1 'b': string needs 8 bytes, 7 are left: truncated, end of file");
}

TEST(Gguf, SplitFilesAreRefused) {
  const TempFolder folder("split");
  WriteAll(folder.File("m.gguf"), GgufBytes({GgufKey("split.count", 2, std::string("\x03\x00", 2))}, {}));
  const auto checkpoint = Checkpoint::Open(folder.File("m.gguf"));
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_NE(checkpoint.status().text().find("split.count"), std::string_view::npos);
}

}  // namespace
}  // namespace unimax
