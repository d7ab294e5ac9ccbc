// SPDX-License-Identifier: Apache-2.0
// Row B04: compares ids with recorded ones. Usage: tokenizer_cases TOKENIZER.json CASES.jsonl; a case is [text, ids].
// Made by tests/tokenizer_differential.py. Prints the first differences and "CASES DIFFERENCES".
#include <cstdio>

#include "text/test_files.h"
#include "text/tokenizer.h"

int main(int argc, char** argv) {
  using json = nlohmann::ordered_json;
  constexpr int kShown = 3;
  if (argc != 3) return 2;
  const auto made = unimax::Tokenizer::FromJson(unimax::ReadTestFile(argv[1]).value_or(""));
  if (!made.ok()) {
    std::printf("%s\n", std::string(made.status().text()).c_str());
    return 1;
  }
  int cases = 0, differences = 0;
  for (const json& line : unimax::ReadJsonLines(argv[2])) {
    ++cases;
    const auto ids = (*made)->Encode(line[0].get<std::string>(), false);
    if (ids == line[1].get<std::vector<int>>() || ++differences > kShown) continue;
    std::printf("  %s\n  got  %s\n  want %s\n", line[0].dump(-1, ' ', true).c_str(), json(ids).dump().c_str(),
                line[1].dump().c_str());
  }
  std::printf("%d %d\n", cases, differences);
  return 0;
}
