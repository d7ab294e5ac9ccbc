// SPDX-License-Identifier: Apache-2.0
// Row A10: every malformed file of tests/data/hostile is refused in the expected words.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "weights/checkpoint.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

using Json = nlohmann::json;

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// Each of `words` is a list of alternatives separated by '|'; `error` must contain one of each.
bool Says(std::string_view error, const Json& words) {
  const std::string text = Lower(error);
  return std::all_of(words.begin(), words.end(), [&](const Json& alternatives) {
    std::istringstream in(Lower(alternatives.get<std::string>()));
    for (std::string word; std::getline(in, word, '|');)
      if (text.find(word) != std::string::npos) return true;
    return false;
  });
}

// A folder whose index is the hostile file.
Status OpenIndex(const std::string& text) {
  const TempFolder folder("index");
  WriteAll(folder.File("model.safetensors.index.json"), text);
  return Checkpoint::Open(folder.path()).status();
}

TEST(Hostile, FilesAreRefusedInTheExpectedWords) {
  std::istringstream rows(ReadAll(DataPath("hostile/expected.jsonl")));
  int files = 0, wrong = 0, accepted = 0;
  for (std::string line; std::getline(rows, line);) {
    const Json row = Json::parse(line);
    const std::string kind = row["kind"], name = row["file"];
    if (kind == "config" || kind == "tokenizer") continue;
    ++files;
    const std::string path = DataPath("hostile/" + name);
    Status status;
    if (kind == "safetensors-index") {
      status = OpenIndex(ReadAll(path));
    } else {
      status = Checkpoint::Open(path).status();
    }
    if (row.value("ok", false)) {
      wrong += !status.ok();
      EXPECT_TRUE(status.ok()) << name << ": " << status.text();
      continue;
    }
    if (status.ok()) {
      const bool allowed = row.value("may_load", false) || row.contains("level");
      EXPECT_TRUE(allowed) << name << " was accepted: " << row["why"];
      accepted += !allowed;
      continue;
    }
    EXPECT_EQ(status.kind(), ErrorKind::kBadModel) << name;
    const bool said = Says(status.text(), row["words"]);
    wrong += !said;
    EXPECT_TRUE(said) << name << ": " << status.text();
  }
  EXPECT_GE(files, 80);
  std::printf("A10 files=%d silent_accept=%d wrong_words=%d %s\n", files, accepted, wrong,
              accepted + wrong == 0 ? "PASS" : "FAIL");
}

TEST(Hostile, WhatCanRunCodeIsRefusedByContent) {
  const TempFolder folder("pickles");
  const std::string contents[] = {"\x80\x04\x95", std::string("PK\x03\x04") + std::string(60, '\0'), "#!/bin/sh\n",
                                  "\x7f"
                                  "ELF\x02\x01",
                                  "MZ\x90"};
  int refused = 0;
  for (const std::string& content : contents) {
    for (const char* name : {"m.gguf", "m.safetensors", "m.bin"}) {
      WriteAll(folder.File(name), content);
      const auto checkpoint = Checkpoint::Open(folder.File(name));
      ASSERT_FALSE(checkpoint.ok()) << name;
      EXPECT_EQ(checkpoint.status().kind(), ErrorKind::kBadModel);
      EXPECT_NE(checkpoint.status().text().find("never opened"), std::string_view::npos) << checkpoint.status().text();
      ++refused;
    }
  }
  std::printf("A06 refused=%d/15 PASS\n", refused);
}

TEST(Hostile, MissingFilesAndPipesAreIoErrors) {
  EXPECT_EQ(Checkpoint::Open("/nonexistent/m.gguf").status().kind(), ErrorKind::kIo);
  EXPECT_EQ(Checkpoint::Open("/dev/zero").status().kind(), ErrorKind::kIo);
  const TempFolder empty("empty");
  EXPECT_EQ(Checkpoint::Open(empty.path()).status().kind(), ErrorKind::kBadModel);
}

}  // namespace
}  // namespace unimax
