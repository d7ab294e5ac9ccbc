// SPDX-License-Identifier: Apache-2.0
// Row A09: headers are read in linear time, honest ones and those with a million equal or similar keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <functional>
#include <unordered_set>

#include "weights/checkpoint.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

constexpr bool kSanitized = UM_SANITIZERS[0] != 0;  // then times mean nothing, and short headers do

double Clock() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Seconds of one core to open the file, successfully or not.
double OpenSeconds(const std::string& path, int tries) {
  double best = 1e9;
  for (int i = 0; i < tries; ++i) {
    const double begin = Clock();
    const auto opened = Checkpoint::Open(path);
    if (opened.ok()) (void)opened->Vocab();
    best = std::min(best, Clock() - begin);
  }
  return best;
}

// Seconds of one core to put `count` names into a hash set: linear work whose data outgrow the caches as a header's do.
double SetSeconds(size_t count, int tries) {
  double best = 1e9;
  for (int i = 0; i < tries; ++i) {
    const double begin = Clock();
    std::unordered_set<std::string> names;
    for (size_t n = 0; n < count; ++n) names.insert("the name of a tensor " + std::to_string(n));
    best = std::min(best, Clock() - begin);
  }
  return best;
}

std::string Tokens(size_t count) {
  std::string array = U32(8) + U64(count);
  for (size_t i = 0; i < count; ++i) array += GgufString("token-" + std::to_string(i));
  return GgufKey("tokenizer.ggml.tokens", 9, array);
}

std::string Gguf(const std::vector<std::string>& keys, size_t tensors) {
  std::vector<std::string> rows;
  for (size_t i = 0; i < tensors; ++i) rows.push_back(GgufTensor("blk." + std::to_string(i) + ".w", {8}, 0, i * 32));
  return GgufBytes(keys, rows, std::string(tensors * 32, '\0'));
}

std::string Safetensors(size_t tensors, bool equal) {
  std::string header = "{";
  for (size_t i = 0; i < tensors; ++i) {
    header += (i > 0 ? ",\"" : "\"") + (equal ? std::string("same") : "layer." + std::to_string(i)) +
              "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(i) + "," +
              std::to_string(i + 1) + "]}";
  }
  return SafetensorsBytes(header + "}", std::string(tensors, '\0'));
}

struct Form {
  const char* name;
  std::function<std::string(size_t)> make;  // of n keys, tensors or tokens
  size_t most;
};

std::vector<Form> Forms() {
  const auto keys = [](size_t n, const std::function<std::string(size_t)>& name) {
    std::vector<std::string> all;
    for (size_t i = 0; i < n; ++i) all.push_back(GgufU32(name(i), i));
    return GgufBytes(all, {});
  };
  return {
      {"tokens", [](size_t n) { return Gguf({Tokens(n)}, 0); }, 2'000'000},
      {"tensors", [](size_t n) { return Gguf({}, n); }, 100'000},
      {"equal keys", [=](size_t n) { return keys(n, [](size_t) { return std::string("same"); }); }, 1'000'000},
      // They differ in the middle alone, so that a hash of the ends or the length finds them equal.
      {"similar keys",
       [=](size_t n) {
         return keys(n, [](size_t i) {
           const std::string number = std::to_string(i);
           return "k" + std::string(12, 'x') + std::string(8 - number.size(), '0') + number + std::string(12, 'x');
         });
       },
       1'000'000},
      {"safetensors names", [](size_t n) { return Safetensors(n, false); }, 100'000},
      {"safetensors equal names", [](size_t n) { return Safetensors(n, true); }, 1'000'000},
  };
}

TEST(A09, HeadersAreReadInLinearTime) {
  const TempFolder folder("headers");
  const auto seconds = [&](const std::string& bytes, bool gguf, int tries) {
    const std::string path = folder.File(gguf ? "m.gguf" : "m.safetensors");
    WriteAll(path, bytes);
    return OpenSeconds(path, tries);
  };
  constexpr size_t kTimes = 16;
  double worst_slope = 0;
  std::string of;
  for (const Form& form : Forms()) {
    const bool gguf = std::string_view(form.name).find("safetensors") == std::string_view::npos;
    const size_t n = kSanitized ? form.most / 64 : form.most;
    double slope = 0;
    for (int tries = 0; tries < 5; ++tries) {  // what looks slow may be the machine's other work
      const double small = seconds(form.make(n / kTimes), gguf, 3), large = seconds(form.make(n), gguf, 1 + tries);
      // A header whose first fault ends the reading costs next to nothing at any length.
      slope = large < 0.02 ? 0 : std::log(large / small) / std::log(kTimes);
      if (slope <= 1.15) break;
      // Where the small one fits into the machine's caches and the large one does not, linear work has a slope as well.
      slope -= std::max(0.0, std::log(SetSeconds(n, 3) / SetSeconds(n / kTimes, 3)) / std::log(kTimes) - 1);
      if (slope <= 1.15) break;
    }
    if (slope > worst_slope) of = form.name;
    worst_slope = std::max(worst_slope, slope);
  }
  const std::string big = Gguf({Tokens(kSanitized ? 4096 : 256 * 1024)}, kSanitized ? 2000 : 100'000);
  const double load = seconds(big, true, 3);
  EXPECT_TRUE(Checkpoint::Open(folder.File("m.gguf")).ok()) << Checkpoint::Open(folder.File("m.gguf")).status().text();
  if (kSanitized) return;
  std::printf("A09 slope=%.2f load_s=%.3f forms=%zu %s\n", worst_slope, load, Forms().size(),
              worst_slope <= 1.15 && load <= 2 ? "PASS" : "FAIL");
  EXPECT_LE(worst_slope, 1.15) << of;
  EXPECT_LE(load, 2.0);
}

}  // namespace
}  // namespace unimax
