// SPDX-License-Identifier: Apache-2.0
// Compares a tokenizer with recorded results. Usage: tokenizer_cases TOKENIZER CASES.jsonl[.gz] ...; any number of such
// pairs (src/text/test_cases.h says what they hold). Prints for each the first differences and "CASES DIFFERENCES".
#include <cstdio>

#include "text/test_cases.h"
#include "text/test_files.h"

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) return 2;
  for (int i = 1; i < argc; i += 2) {
    const auto made = unimax::LoadTestTokenizer(argv[i]);
    if (!made.ok()) {
      std::printf("%s\n", std::string(made.status().text()).c_str());
      return 1;
    }
    const unimax::CaseReport report = unimax::CheckCases(**made, unimax::ReadJsonLines(argv[i + 1]));
    std::printf("%s%d %d\n", report.shown.c_str(), report.cases, report.wrong);
  }
  return 0;
}
