// SPDX-License-Identifier: Apache-2.0
#include "text/test_files.h"

#include <zlib.h>

#include <cstring>
#include <fstream>
#include <sstream>

namespace unimax {

std::string TestDataFolder() { return UM_SOURCE_DIR "/tests/data/text"; }
std::string PublicDataFolder() { return UM_SOURCE_DIR "/../shared/fixtures/public"; }

std::optional<std::string> ReadTestFile(const std::string& path) {
  if (!path.ends_with(".gz")) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  gzFile in = gzopen(path.c_str(), "rb");
  if (in == nullptr) return std::nullopt;
  std::string out;
  char block[1 << 16];
  int n = 0;
  while ((n = gzread(in, block, sizeof(block))) > 0) out.append(block, static_cast<size_t>(n));
  gzclose(in);
  return n < 0 ? std::nullopt : std::optional<std::string>(std::move(out));
}

std::vector<nlohmann::ordered_json> ReadJsonLines(const std::string& path) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream in(ReadTestFile(path).value_or(""));
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(nlohmann::ordered_json::parse(line, nullptr, false));
  }
  return lines;
}

namespace {

class GgufCursor {
 public:
  explicit GgufCursor(const std::string& bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  template <class T>
  T Number() {
    T value{};
    if (at_ + sizeof(T) > bytes_.size()) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string Text() {
    const auto n = Number<uint64_t>();
    if (!ok_ || n > bytes_.size() - at_) {
      ok_ = false;
      return "";
    }
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  nlohmann::json Value(uint32_t type) {
    switch (type) {
      case 0:
        return Number<uint8_t>();
      case 1:
        return Number<int8_t>();
      case 2:
        return Number<uint16_t>();
      case 3:
        return Number<int16_t>();
      case 4:
        return Number<uint32_t>();
      case 5:
        return Number<int32_t>();
      case 6:
        return Number<float>();
      case 7:
        return Number<uint8_t>() != 0;
      case 8:
        return Text();
      case 9: {
        const auto element = Number<uint32_t>();
        const auto n = Number<uint64_t>();
        nlohmann::json list = nlohmann::json::array();
        for (uint64_t i = 0; ok_ && i < n; ++i) list.push_back(Value(element));
        return list;
      }
      case 10:
        return Number<uint64_t>();
      case 11:
        return Number<int64_t>();
      case 12:
        return Number<double>();
      default:
        ok_ = false;
        return nullptr;
    }
  }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace

std::optional<VocabData> ReadGgufVocab(const std::string& bytes) {
  GgufCursor in(bytes);
  if (in.Number<uint32_t>() != 0x46554747u) return std::nullopt;
  in.Number<uint32_t>();
  in.Number<uint64_t>();
  const auto keys = in.Number<uint64_t>();
  nlohmann::json all = nlohmann::json::object();
  for (uint64_t i = 0; in.ok() && i < keys; ++i) {
    const std::string key = in.Text();
    all[key] = in.Value(in.Number<uint32_t>());
  }
  if (!in.ok()) return std::nullopt;
  VocabData v;
  const std::string ggml = "tokenizer.ggml.";
  v.model = all.value(ggml + "model", "");
  v.pre = all.value(ggml + "pre", "");
  v.tokens = all.value(ggml + "tokens", std::vector<std::string>());
  v.scores = all.value(ggml + "scores", std::vector<float>());
  v.types = all.value(ggml + "token_type", std::vector<int32_t>());
  v.merges = all.value(ggml + "merges", std::vector<std::string>());
  v.bos = all.value(ggml + "bos_token_id", -1);
  v.eos = all.value(ggml + "eos_token_id", -1);
  v.unknown = all.value(ggml + "unknown_token_id", -1);
  v.padding = all.value(ggml + "padding_token_id", -1);
  v.add_bos = all.value(ggml + "add_bos_token", false);
  v.add_eos = all.value(ggml + "add_eos_token", false);
  v.add_space_prefix = all.value(ggml + "add_space_prefix", true);
  v.chat_template = all.value("tokenizer.chat_template", "");
  return v;
}

}  // namespace unimax
