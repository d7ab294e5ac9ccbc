// SPDX-License-Identifier: Apache-2.0
// Rows B01 and B02: no text makes a tokenizer crash, take much stack, or take much longer than English does.
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <mutex>
#include <random>
#include <thread>

#include "text/test_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

constexpr size_t kMiB = 1 << 20;
constexpr bool kSanitized = UM_SANITIZERS[0] != 0;            // then times mean nothing, and shorter texts do
constexpr size_t kTextBytes = kSanitized ? kMiB / 16 : kMiB;  // of the longer of two texts
constexpr size_t kTimesLonger = 64;                           // than the shorter one
constexpr double kMostSlope = 1.2, kMostTimesEnglish = 4;
constexpr size_t kStackBytes = 256 << 10;

// Characters of one class each; a text repeats them.
constexpr std::u32string_view kClasses[] = {U"a",
                                            U"Z",
                                            U"\u00e9",
                                            U"\u0416",
                                            U"\u03a9",
                                            U"\u05d0",
                                            U"\u0627",
                                            U"\u0905",
                                            U"\u0e01",
                                            U"\u1100",
                                            U"\uac00",
                                            U"\u3042",
                                            U"\u4e2d",
                                            U"\U00020000",
                                            U"\u0301",
                                            U"\u0323\u0301",
                                            U"\u0903",
                                            U"\u200d",
                                            U"0",
                                            U"\u0663",
                                            U"\u00b2",
                                            U"\u2167",
                                            U" ",
                                            U"\n",
                                            U"\r\n",
                                            U"\t",
                                            U"\u00a0",
                                            U"\u3000",
                                            U".",
                                            U"'",
                                            U"_",
                                            U"-",
                                            U"\u2014",
                                            U"+",
                                            U"\u20ac",
                                            U"\u00a9",
                                            U"\U0001f600",
                                            U"\U0001f1e9",
                                            std::u32string_view(U"\0", 1),
                                            U"\u2581"};
// Texts that invite backtracking, overlapping merges and half-matched added tokens.
constexpr std::u32string_view kPatterns[] = {U"ab",
                                             U"aab",
                                             U" \n",
                                             U"\n ",
                                             U"a ",
                                             U"a'",
                                             U"'s",
                                             U"<|endof",
                                             U"<s",
                                             U"a\u0301",
                                             U" \t",
                                             U"1a",
                                             U"A1",
                                             U"aA",
                                             U"a.",
                                             U"\u4e2d\u3042",
                                             U"e\u0323\u0301\u0302"};

std::string Repeat(std::u32string_view unit, size_t bytes) {
  const std::string one = utf8::Encode(unit);
  std::string text;
  while (text.size() + one.size() <= bytes) text += one;
  return text;
}

// Words of English in their usual proportion, with punctuation, numbers and lines.
std::string English(size_t bytes) {
  static constexpr const char* kWords[] = {
      "the",         "of",         "and",          "to",       "a",       "in",       "is",         "that",
      "it",          "was",        "for",          "on",       "are",     "with",     "as",         "they",
      "at",          "be",         "this",         "from",     "have",    "or",       "by",         "one",
      "had",         "not",        "but",          "what",     "all",     "were",     "when",       "we",
      "there",       "can",        "an",           "your",     "which",   "their",    "said",       "if",
      "do",          "will",       "each",         "about",    "how",     "out",      "them",       "then",
      "she",         "many",       "some",         "so",       "these",   "would",    "other",      "into",
      "has",         "more",       "two",          "like",     "time",    "look",     "write",      "number",
      "people",      "water",      "place",        "years",    "through", "before",   "government", "between",
      "information", "system",     "development",  "children", "program", "question", "important",  "different",
      "something",   "university", "international"};
  std::mt19937 random(3);
  std::string text;
  while (text.size() < bytes) {
    // Small indices are much more frequent; one word in twelve is not in the list.
    const double u = std::ldexp(static_cast<double>(random()), -32);
    std::string word = kWords[static_cast<size_t>(u * u * static_cast<double>(std::size(kWords)))];
    if (random() % 12 == 0) {
      for (char& c : word) c = static_cast<char>('a' + (c + random() % 5) % 26);
    }
    if (random() % 10 == 0) word[0] = static_cast<char>(word[0] - 32);
    text += word;
    const unsigned end = random() % 40;
    text += end == 0 ? ".\n" : end < 3 ? ". " : end < 5 ? ", " : end == 5 ? " 1984 " : end == 6 ? "'s " : " ";
  }
  text.resize(bytes);
  return text;
}

std::unique_ptr<Tokenizer> Load(const std::string& name) {
  const std::string path = TestDataFolder() + "/tokenizers/" + name + "/tokenizer.json";
  auto text = ReadTestFile(path);
  if (!text) text = ReadTestFile(path + ".gz");
  auto made = Tokenizer::FromJson(text.value_or(""));
  EXPECT_TRUE(made.ok()) << name << made.status().text();
  return made.ok() ? std::move(*made) : nullptr;
}

// Of this thread on its processor: other work of the machine does not count.
double Clock() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Seconds(const Tokenizer& t, const std::string& text) {
  const double begin = Clock();
  EXPECT_LT(t.Encode(text, false).size(), text.size() * 4 + 8);
  return Clock() - begin;
}

double BestSeconds(const Tokenizer& t, const std::string& text, int tries) {
  double best = Seconds(t, text);
  for (int i = 1; i < tries; ++i) best = std::min(best, Seconds(t, text));
  return best;
}

// Runs `job` on a thread with a stack of kStackBytes and returns how many KiB of it were written to.
template <class F>
size_t StackKib(F job) {
  constexpr uint8_t kPaint = 0xa5;
  std::vector<uint8_t> stack(kStackBytes + 4096, kPaint);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  void* base = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(stack.data()) + 4095) & ~uintptr_t{4095});
  EXPECT_EQ(pthread_attr_setstack(&attributes, base, kStackBytes), 0);
  pthread_t thread{};
  EXPECT_EQ(pthread_create(
                &thread, &attributes,
                [](void* p) -> void* {
                  (*static_cast<F*>(p))();
                  return nullptr;
                },
                &job),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  const auto* low = static_cast<const uint8_t*>(base);
  size_t clean = 0;
  while (clean < kStackBytes && low[clean] == kPaint) ++clean;
  return (kStackBytes - clean) / 1024;
}

// The largest value, and what it belongs to.
struct Worst {
  double value = 0;
  std::string of;
  void Offer(double v, const std::string& what) {
    if (v > value) *this = {v, what};
  }
};

struct Figures {
  std::mutex mutex;
  int texts = 0;
  Worst slope, ratio, seconds;
};

struct Sample {
  std::string what, text, part;  // the part is kTimesLonger times shorter
};

// Repeats of one character and of patterns, and letters without any space.
std::vector<Sample> HostileTexts() {
  std::vector<Sample> texts;
  std::vector<std::u32string_view> units(std::begin(kClasses), std::end(kClasses));
  units.insert(units.end(), std::begin(kPatterns), std::end(kPatterns));
  for (const std::u32string_view unit : units) {
    texts.push_back(
        {json(utf8::Encode(unit)).dump(), Repeat(unit, kTextBytes), Repeat(unit, kTextBytes / kTimesLonger)});
  }
  std::mt19937 random(5);
  std::string letters(kTextBytes, 'a');
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  texts.push_back({"random letters", letters, letters.substr(0, kTextBytes / kTimesLonger)});
  return texts;
}

// Repeats of the longest piece that is made of letters.
Sample LongestPiece(const Tokenizer& t) {
  std::u32string longest = U"a";
  for (int id = 0; id < t.vocab_size(); ++id) {
    if (t.IsControl(id) || 2 * t.PieceOf(id).size() <= longest.size()) continue;
    const int ids[] = {id, id};
    const std::u32string piece = utf8::Decode(t.Decode(ids, true));
    const bool letters = std::all_of(piece.begin(), piece.end(), utf8::IsLetter);
    if (letters && piece.size() > longest.size() && piece.size() < 512) longest = piece;
  }
  return {"longest piece", Repeat(longest, kTextBytes), Repeat(longest, kTextBytes / kTimesLonger)};
}

// What looks slow is measured again: it may be the machine's other work.
void Measure(const Tokenizer& t, const std::string& name, const std::string& plain, double english,
             const Sample& sample, Figures* all) {
  double base = english, long_time = Seconds(t, sample.text), short_time = 0, slope = 0;
  for (int tries = 0; tries < 6 && !kSanitized; ++tries) {
    const double part = Seconds(t, sample.part);
    short_time = tries == 0 ? part : std::min(short_time, part);
    slope = long_time > base / 2 ? std::log(long_time / short_time) / std::log(kTimesLonger) : 0;
    if (slope <= kMostSlope && long_time <= kMostTimesEnglish * base) break;
    if (tries > 1) base = std::max(base, Seconds(t, plain));  // as slow as the machine is now
    long_time = std::min(long_time, Seconds(t, sample.text));
  }
  const std::lock_guard lock(all->mutex);
  ++all->texts;
  all->ratio.Offer(long_time / base, name + " " + sample.what);
  all->seconds.Offer(long_time * static_cast<double>(kMiB) / kTextBytes, name + " " + sample.what);
  all->slope.Offer(slope, name + " " + sample.what);
}

// One tokenizer for each pre-tokenizer and model.
constexpr const char* kNames[] = {"bbpe_deepseek_llm",   "bbpe_deepseek_v3",
                                  "bbpe_falcon",         "bbpe_llama3",
                                  "bbpe_norm_bytelevel", "bbpe_o200k",
                                  "bbpe_qwen2",          "bbpe_starcoder",
                                  "spbpe_llama2",        "spbpe_metaspace_always",
                                  "unigram_t5",          "unigram_xlmr",
                                  "wordlevel",           "wordpiece_bert_uncased",
                                  "wordpiece_plain"};

TEST(HostileText, TakesLittleStackAndTime) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);  // texts are long: without it each call gets its memory from the system anew
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const std::vector<Sample> texts = HostileTexts();
  const std::string plain = English(kTextBytes);
  Figures all;
  std::atomic<size_t> next = 0, stack = 0;
  const auto work = [&] {
    for (size_t i = next++; i < std::size(kNames); i = next++) {
      const auto t = Load(kNames[i]);
      if (t == nullptr) continue;
      const size_t used = StackKib([&] {
        const double english = BestSeconds(*t, plain, 3);
        for (const Sample& sample : texts) Measure(*t, kNames[i], plain, english, sample, &all);
        Measure(*t, kNames[i], plain, english, LongestPiece(*t), &all);
      });
      for (size_t most = stack; used > most && !stack.compare_exchange_weak(most, used);) {
      }
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(static_cast<size_t>(all.texts), std::size(kNames) * (texts.size() + 1));
  fmt::print("B01 texts={} segv=0 max_stack_kib={} {}\n", all.texts, stack.load(), stack <= 128 ? "PASS" : "FAIL");
  EXPECT_LE(stack.load(), 128u);
  if (kSanitized) return;
  const bool pass = all.slope.value <= kMostSlope && all.ratio.value <= kMostTimesEnglish && all.seconds.value <= 1;
  fmt::print("B02 slope={:.2f} worst_ratio={:.2f} worst_s_per_mib={:.3f} {}\n", all.slope.value, all.ratio.value,
             all.seconds.value, pass ? "PASS" : "FAIL");
  fmt::print("slope of {}; ratio of {}; seconds of {}\n", all.slope.of, all.ratio.of, all.seconds.of);
  EXPECT_LE(all.slope.value, kMostSlope) << all.slope.of;
  EXPECT_LE(all.ratio.value, kMostTimesEnglish) << all.ratio.of;
  EXPECT_LE(all.seconds.value, 1) << all.seconds.of;
}

}  // namespace
}  // namespace unimax
