// SPDX-License-Identifier: Apache-2.0
// Times one tokenizer: the partner of text_speed.py, which asks for one measurement a line so that it can take turns
// with another program. Usage: text_speed TOKENIZER TEXT, then on standard input "load" or "encode"; each is answered
// by its milliseconds on the processor, so that other work of the
// machine counts less, and the number of ids.
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "text/tokenizer.h"

namespace {

std::string ReadAll(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

double Milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: text_speed TOKENIZER TEXT\n");
    return 2;
  }
  const std::string json = ReadAll(argv[1]);
  const std::string text = ReadAll(argv[2]);
  auto made = unimax::Tokenizer::FromJson(json);
  if (!made.ok()) {
    std::fprintf(stderr, "%s: %s\n", argv[1], std::string(made.status().text()).c_str());
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const double begin = Milliseconds();
    size_t ids = 0;
    if (line == "load") {
      made = unimax::Tokenizer::FromJson(json);
    } else {
      ids = (*made)->Encode(text, false).size();
    }
    std::printf("%.3f %zu\n", Milliseconds() - begin, ids);
    std::fflush(stdout);
  }
  return 0;
}
