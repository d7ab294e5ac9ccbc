// SPDX-License-Identifier: Apache-2.0
// Single normalizers, pre-tokenizers and decoders against the Python package.
#include <gtest/gtest.h>

#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/test_files.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

// What the component makes of an input, as JSON; an error's text when it cannot be made.
json Applied(const std::string& kind, const nlohmann::json& spec, const json& input) {
  if (kind == "normalizer") {
    const auto made = Normalizer::FromJson(spec);
    if (!made.ok()) return made.status().text();
    return made.value().Apply(input.get<std::string>());
  }
  if (kind == "decoder") {
    const auto made = Decoder::FromJson(spec);
    if (!made.ok()) return made.status().text();
    return made.value().Apply(input.get<std::vector<std::string>>());
  }
  const auto made = PreTokenizer::FromJson(spec);
  if (!made.ok()) return made.status().text();
  json words = json::array();
  const auto text = input.get<std::string>();
  Words cut;
  made.value().Apply(text, true, false, cut);
  for (const Word& w : cut.words) words.push_back(cut.text.substr(w.begin, w.end - w.begin));
  return words;
}

TEST(Components, EqualThePackage) {
  int components = 0;
  int right = 0;
  std::string report;
  for (const json& c : ReadJsonLines(TestDataFolder() + "/tokenizers/components.jsonl.gz")) {
    ++components;
    nlohmann::json spec = nlohmann::json::parse(c["spec"].dump());
    if (c["name"] == "Precompiled") {  // a long table, kept in one place
      spec = nlohmann::json::parse(
          ReadTestFile(TestDataFolder() + "/tokenizers/unigram_t5/tokenizer.json.gz").value_or(""))["normalizer"];
    }
    int wrong = 0;
    for (const json& item : c["cases"]) {
      const json got = Applied(c["kind"], spec, item[0]);
      if (got != item[1] && ++wrong <= 2) {
        report += c["kind"].dump() + c["name"].dump() + item[0].dump() + "\n  got  " + got.dump() + "\n  want " +
                  item[1].dump() + "\n";
      }
    }
    if (wrong == 0) ++right;
  }
  EXPECT_EQ(components, 97);
  EXPECT_EQ(right, 97) << report;
}

}  // namespace
}  // namespace unimax
