// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzer: every file of the kept corpus, and fixed mutations of each.
// Usage: <target>_replay <corpus folder> <mutations of each file> <row>. A crash ends the process; else it prints one
// line.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Below(uint64_t n) {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
  }

 private:
  uint64_t state_;
};

void Run(const std::string& input) {
  // An exact copy on the heap, so that a sanitizer sees a read past its end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string Mutated(std::string input, const std::string& other, Random* random) {
  for (uint64_t edits = 1 + random->Below(3); edits > 0 && !input.empty(); --edits) {
    const size_t at = random->Below(input.size());
    const uint64_t power = (uint64_t{1} << random->Below(64)) + random->Below(3) - 1;
    switch (random->Below(6)) {
      case 0:
        input[at] = static_cast<char>(random->Below(256));
        break;
      case 1:
        std::memcpy(input.data() + at, &power, std::min<size_t>(input.size() - at, 4 + 4 * random->Below(2)));
        break;
      case 2:
        input.resize(at);
        break;
      case 3:
        input.insert(at, input.substr(at, 1 + random->Below(32)));
        break;
      case 4:
        input.erase(at, 1 + random->Below(16));
        break;
      default:
        input = input.substr(0, at) + other.substr(std::min<size_t>(at, other.size()));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  std::vector<std::string> paths, corpus;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    std::ifstream in(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  const long mutations = std::strtol(argv[2], nullptr, 10);
  Random random(1);
  long execs = 0;
  for (const std::string& file : corpus) {
    Run(file);
    for (long i = 0; i < mutations; ++i) Run(Mutated(file, corpus[random.Below(corpus.size())], &random));
    execs += 1 + mutations;
  }
  const std::string target = std::filesystem::path(argv[1]).filename().string();
  std::printf("%s target=%s files=%zu crashes=0 execs=%ld %s\n", argv[3], target.c_str(), corpus.size(), execs,
              corpus.empty() ? "FAIL" : "PASS");
  return corpus.empty() ? 1 : 0;
}
