// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "weights/test_files.h"

namespace unimax {
namespace {

using Json = nlohmann::json;

ModelConfig Read(std::string_view relative) {
  const auto checkpoint = Checkpoint::Open(DataPath(relative));
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().text();
  if (!checkpoint.ok()) return {};
  auto config = ReadConfig(*checkpoint);
  EXPECT_TRUE(config.ok()) << config.status().text();
  return config.ok() ? std::move(config).value() : ModelConfig();
}

Result<ModelConfig> ReadText(const std::string& text) { return ReadJsonConfig(text, "", "m"); }

void ExpectSame(const RopeConfig& r, const RopeConfig& s) {
  EXPECT_EQ(std::tie(r.kind, r.theta, r.factor, r.rotary, r.low_freq_factor, r.high_freq_factor, r.original_context),
            std::tie(s.kind, s.theta, s.factor, s.rotary, s.low_freq_factor, s.high_freq_factor, s.original_context));
  EXPECT_EQ(std::tie(r.beta_fast, r.beta_slow, r.attention_factor, r.divisors, r.long_divisors, r.interleaved),
            std::tie(s.beta_fast, s.beta_slow, s.attention_factor, s.divisors, s.long_divisors, s.interleaved));
}

void ExpectSame(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(std::tie(a.layers, a.hidden, a.heads, a.kv_heads, a.head_dim, a.intermediate, a.vocab, a.context),
            std::tie(b.layers, b.hidden, b.heads, b.kv_heads, b.head_dim, b.intermediate, b.vocab, b.context));
  EXPECT_EQ(std::tie(a.norm_eps, a.tied_embeddings, a.attention_bias, a.mlp_bias, a.bos_id, a.eos_ids),
            std::tie(b.norm_eps, b.tied_embeddings, b.attention_bias, b.mlp_bias, b.bos_id, b.eos_ids));
  EXPECT_EQ(std::tie(a.activation, a.attention_scale, a.embedding_scale, a.residual_scale, a.logit_scale),
            std::tie(b.activation, b.attention_scale, b.embedding_scale, b.residual_scale, b.logit_scale));
  EXPECT_EQ(std::tie(a.attention_cap, a.logit_cap, a.windows, a.embedding_width, a.norm_first, a.norm_offset),
            std::tie(b.attention_cap, b.logit_cap, b.windows, b.embedding_width, b.norm_first, b.norm_offset));
  EXPECT_EQ(std::tie(a.parallel_residual, a.qkv_by_head, a.transposed_linear),
            std::tie(b.parallel_residual, b.qkv_by_head, b.transposed_linear));
  ExpectSame(a.rope, b.rope);
  ASSERT_EQ(a.window_rope.has_value(), b.window_rope.has_value());
  if (a.window_rope) ExpectSame(*a.window_rope, *b.window_rope);
}

TEST(Config, ReadsEveryFolder) {
  const ModelConfig plain = Read("models/llama");
  EXPECT_EQ(plain.architecture, "llama");
  EXPECT_EQ(plain.kv_heads, 4);
  EXPECT_EQ(plain.head_dim, 16);
  EXPECT_EQ(plain.vocab, 384);
  EXPECT_EQ(plain.context, 256);
  EXPECT_EQ(plain.norm_eps, 1e-6f);
  EXPECT_FALSE(plain.tied_embeddings);
  EXPECT_FALSE(plain.rope.interleaved);
  EXPECT_EQ(plain.bos_id, 1);
  EXPECT_EQ(plain.eos_ids, std::vector<int>{2});

  const ModelConfig llama3 = Read("models/llama3");
  EXPECT_EQ(llama3.rope.kind, RopeKind::kLlama3);
  EXPECT_EQ(llama3.rope.theta, 500000.0);
  EXPECT_EQ(llama3.rope.factor, 8.0);
  EXPECT_EQ(llama3.rope.original_context, 64);
  EXPECT_EQ(llama3.eos_ids, (std::vector<int>{2, 4}));  // generation_config.json

  const ModelConfig yarn = Read("models/llama_yarn");
  EXPECT_EQ(yarn.rope.kind, RopeKind::kYarn);
  EXPECT_EQ(yarn.rope.original_context, 16);
  EXPECT_EQ(yarn.rope.attention_factor, 0.0);

  const ModelConfig linear = Read("models/llama_linear");
  EXPECT_EQ(linear.rope.kind, RopeKind::kLinear);
  EXPECT_EQ(linear.rope.factor, 4.0);

  EXPECT_TRUE(Read("models/llama_tied").tied_embeddings);
  ModelConfig sharded = Read("models/llama_sharded");
  sharded.eos_ids = {2};
  ExpectSame(sharded, Read("models/llama_tied"));
  EXPECT_EQ(Read("models/llama3_bf16").rope.kind, RopeKind::kLlama3);
}

TEST(Config, BothDialectsMeanTheSame) {
  for (const char* name :
       {"llama",   "llama3",   "llama_tied",    "llama_linear", "llama_yarn",  "qwen2", "qwen3",
        "mistral", "opt",      "opt_350m_like", "gemma2",       "gemma3_text", "phi3",  "phi3_longrope",
        "gpt2",    "gpt_neox", "falcon",        "olmo2",        "granite",     "glm4"}) {
    SCOPED_TRACE(name);
    const auto old_form = ReadText(ReadAll(DataPath(fmt::format("models/{}/config.json", name))));
    const auto new_form = ReadText(ReadAll(DataPath(fmt::format("models/{}/config.v5.json", name))));
    ASSERT_TRUE(old_form.ok()) << old_form.status().text();
    ASSERT_TRUE(new_form.ok()) << new_form.status().text();
    ExpectSame(*old_form, *new_form);
  }
}

TEST(Config, ReadsGguf) {
  const ModelConfig c = Read("gguf/tiny-llama-q4_1.gguf");
  EXPECT_EQ(std::tie(c.layers, c.hidden, c.heads, c.kv_heads, c.head_dim, c.intermediate, c.vocab, c.context),
            std::make_tuple(2, 64, 2, 1, 16, 32, 384, 256));
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_TRUE(c.rope.interleaved);
  EXPECT_EQ(c.rope.kind, RopeKind::kDefault);
  EXPECT_EQ(c.rope.theta, 10000.0);
  EXPECT_TRUE(c.rope.divisors.empty());
  EXPECT_EQ(c.bos_id, 1);
  EXPECT_EQ(c.eos_ids, std::vector<int>{2});
}

// A complete llama of one layer as GGUF keys; the test changes some.
std::map<std::string, std::string> Keys() {
  std::map<std::string, std::string> keys;
  const auto u32 = [&](const std::string& key, uint64_t v) { keys[key] = GgufU32(key, v); };
  keys["general.architecture"] = GgufText("general.architecture", "llama");
  u32("llama.block_count", 1);
  u32("llama.embedding_length", 32);
  u32("llama.attention.head_count", 4);
  u32("llama.attention.head_count_kv", 2);
  u32("llama.feed_forward_length", 16);
  u32("llama.context_length", 128);
  keys["llama.attention.layer_norm_rms_epsilon"] = GgufKey("llama.attention.layer_norm_rms_epsilon", 6, Raw(1e-5f));
  return keys;
}

Result<ModelConfig> ReadKeys(const std::map<std::string, std::string>& keys) {
  std::vector<std::string> list;
  for (const auto& [key, bytes] : keys) list.push_back(bytes);
  std::string data(96 * 4 + 4 * 4, '\0');
  const float divisors[4] = {1.0f, 1.0f, 2.0f, 8.0f};
  std::memcpy(data.data() + 96 * 4, divisors, sizeof(divisors));
  const std::string file = GgufBytes(
      list, {GgufTensor("token_embd.weight", {32, 3}, 0, 0), GgufTensor("rope_freqs.weight", {4}, 0, 96 * 4)}, data);
  const auto parsed = GgufFile::Parse(AsBytes(file), "m.gguf");
  if (!parsed.ok()) return parsed.status();
  return ReadGgufConfig(*parsed);
}

TEST(Config, GgufRopeFactorsAndEnds) {
  auto keys = Keys();
  auto config = ReadKeys(keys);
  ASSERT_TRUE(config.ok()) << config.status().text();
  EXPECT_EQ(config->rope.divisors, (std::vector<float>{1, 1, 2, 8}));
  EXPECT_EQ(config->rope.theta, 10000.0);
  EXPECT_EQ(config->head_dim, 8);
  keys["type"] = GgufText("llama.rope.scaling.type", "yarn");
  keys["factor"] = GgufKey("llama.rope.scaling.factor", 6, Raw(4.0f));
  keys["original"] = GgufU32("llama.rope.scaling.original_context_length", 32);
  keys["eos"] = GgufU32("tokenizer.ggml.eos_token_id", 2);
  keys["eot"] = GgufU32("tokenizer.ggml.eot_token_id", 1);
  config = ReadKeys(keys);
  ASSERT_TRUE(config.ok()) << config.status().text();
  EXPECT_EQ(config->rope.kind, RopeKind::kYarn);
  EXPECT_EQ(config->rope.original_context, 32);
  EXPECT_EQ(config->eos_ids, (std::vector<int>{2, 1}));
  keys["type"] = GgufText("llama.rope.scaling.type", "spiral");
  EXPECT_NE(ReadKeys(keys).status().text().find("spiral"), std::string_view::npos);
  keys.erase("type");
  config = ReadKeys(keys);
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->rope.kind, RopeKind::kLinear);
}

TEST(Config, RefusesWhatItWouldGetWrong) {
  auto keys = Keys();
  keys["experts"] = GgufU32("llama.expert_count", 8);
  EXPECT_NE(ReadKeys(keys).status().text().find("llama.expert_count"), std::string_view::npos);
  Json json = Json::parse(ReadAll(DataPath("models/llama/config.json")));
  const std::tuple<const char*, const char*, Json> changes[] = {
      {"llama", "hidden_act", "mish"},
      {"llama", "quantization_config", Json::object()},
      {"llama", "partial_rotary_factor", 0.5},
      {"llama", "eos_token_id", 384},
      {"llama", "eos_token_id", Json::array({1, "x"})},
      {"llama", "bos_token_id", 1.5},
      {"llama", "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}, {"truncate", false}}},
      {"phi3_longrope", "rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}}},
      {"gemma2", "layer_types", {"full_attention", "chunked_attention"}},
      {"gemma3_text", "use_bidirectional_attention", true},
      {"glm4", "partial_rotary_factor", 0.1},
      {"gpt2", "scale_attn_by_inverse_layer_idx", true},
      {"gpt2", "scale_attn_weights", false},
      {"opt", "enable_bias", false},
      {"opt", "_remove_final_layer_norm", true},
      {"falcon", "alibi", true},
      {"falcon", "new_decoder_architecture", true},
      {"falcon", "parallel_attn", false},
      {"falcon", "bias", true}};
  for (const auto& [model, key, value] : changes) {
    Json changed = Json::parse(ReadAll(DataPath(fmt::format("models/{}/config.json", model))));
    changed[key] = value;
    const auto config = ReadText(changed.dump());
    ASSERT_FALSE(config.ok()) << model << " " << key;
    EXPECT_NE(config.status().text().find(key), std::string_view::npos) << config.status().text();
  }
  json["vocab_size"] = 400;
  const TempFolder folder("vocab");
  std::filesystem::copy(DataPath("models/llama/model.safetensors"), folder.File("model.safetensors"));
  const auto no_config = Checkpoint::Open(folder.path());
  ASSERT_TRUE(no_config.ok());
  EXPECT_NE(ReadConfig(*no_config).status().text().find("config.json"), std::string_view::npos);
  WriteAll(folder.File("config.json"), json.dump());
  const auto wrong_vocab = Checkpoint::Open(folder.path());
  ASSERT_TRUE(wrong_vocab.ok());
  EXPECT_NE(ReadConfig(*wrong_vocab).status().text().find("vocab_size"), std::string_view::npos);
}

TEST(Config, HostileFilesAreRefusedInTheExpectedWords) {
  std::istringstream rows(ReadAll(DataPath("hostile/expected.jsonl")));
  int files = 0, bad = 0;
  for (std::string line; std::getline(rows, line);) {
    const Json row = Json::parse(line);
    const std::string path = DataPath("hostile/" + row["file"].get<std::string>());
    Status status;
    if (row["kind"] == "config") {
      status = ReadText(ReadAll(path)).status();
    } else if (row.value("level", "") == "model") {
      const auto checkpoint = Checkpoint::Open(path);
      status = checkpoint.ok() ? ReadConfig(*checkpoint).status() : checkpoint.status();
    } else {
      continue;
    }
    ++files;
    if (status.ok() && row.value("may_load", false)) continue;
    std::string text(status.text());
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    bool said = !status.ok();
    for (const Json& alternatives : row["words"]) {
      std::string list = alternatives;
      std::transform(list.begin(), list.end(), list.begin(), [](unsigned char c) { return std::tolower(c); });
      std::istringstream in(list);
      bool found = false;
      for (std::string word; std::getline(in, word, '|');) found |= text.find(word) != std::string::npos;
      said &= found;
    }
    bad += !said;
    EXPECT_TRUE(said) << row["file"] << ": " << status.text();
  }
  EXPECT_GE(files, 30);
  std::printf("A10 config files=%d silent_accept=%d %s\n", files, bad, bad == 0 ? "PASS" : "FAIL");
}

// Row A07: each key missing, 0, 1, -1, huge and of a wrong type. What fails must name the key.
TEST(Config, EveryKeyInEveryWrongForm) {
  int cases = 0, failed = 0, unnamed = 0;
  const auto judge = [&](const std::string& key, const Result<ModelConfig>& result) {
    ++cases;
    if (result.ok()) {
      const ModelConfig& c = *result;
      EXPECT_TRUE(c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0 && c.head_dim % 2 == 0);
      EXPECT_TRUE(c.layers > 0 && c.hidden > 0 && c.intermediate > 0 && c.vocab > 0 && c.context > 0);
      return;
    }
    ++failed;
    const bool named = result.status().text().find(key) != std::string_view::npos;
    unnamed += !named;
    EXPECT_TRUE(named) << key << ": " << result.status().text();
  };
  const Json values[] = {nullptr,        0,    1, -1, 3, INT64_MAX, UINT64_MAX, 1e300, -0.5, "64", Json::array({1}),
                         Json::object(), true, 5};
  for (const char* model : {"llama3", "llama_yarn", "llama_linear", "opt", "gemma2", "gemma3_text", "phi3_longrope",
                            "gpt2", "gpt_neox", "falcon", "granite", "glm4"}) {
    const Json base = Json::parse(ReadAll(DataPath(fmt::format("models/{}/config.json", model))));
    for (const auto& item : base.items()) {
      for (const Json& value : values) {
        Json changed = base;
        changed[item.key()] = value;
        judge(item.key(), ReadText(changed.dump()));
      }
    }
    if (!base.contains("rope_scaling")) continue;
    for (const auto& item : base["rope_scaling"].items()) {
      for (const Json& value : values) {
        Json changed = base;
        changed["rope_scaling"][item.key()] = value;
        judge(item.key(), ReadText(changed.dump()));
      }
    }
  }
  const std::string numbers[] = {U32(0), U32(1), U32(0xffffffff), U32(0x7fffffff), U32(3), U32(5)};
  for (const auto& [key, bytes] : Keys()) {
    auto keys = Keys();
    for (const std::string& number : numbers) {
      keys[key] = GgufKey(key, 4, number);
      judge(key, ReadKeys(keys));
      keys[key] = GgufKey(key, 5, number);
      judge(key, ReadKeys(keys));
      keys[key] = GgufKey(key, 9, U32(4) + U64(1) + number);
      judge(key, ReadKeys(keys));
    }
    keys[key] = GgufKey(key, 10, U64(UINT64_MAX));
    judge(key, ReadKeys(keys));
    keys[key] = GgufText(key, "x");
    judge(key, ReadKeys(keys));
    for (const float f : {0.0f, -1.0f, 1e30f, std::numeric_limits<float>::quiet_NaN()}) {
      keys[key] = GgufKey(key, 6, Raw(f));
      judge(key, ReadKeys(keys));
    }
    keys.erase(key);
    judge(key, ReadKeys(keys));
  }
  EXPECT_GE(failed, 300);
  std::printf("A07 cases=%d refused=%d sigfpe=0 crashes=0 key_named=%s %s\n", cases, failed,
              unnamed == 0 ? "100%" : "no", unnamed == 0 ? "PASS" : "FAIL");
}

}  // namespace
}  // namespace unimax
