// SPDX-License-Identifier: Apache-2.0
// Row B07: a tokenizer.json, whatever it holds, ends in a tokenizer or in one error, and takes memory in proportion to
// its size. Heap is counted byte by byte, so that neither the allocator nor other tests matter.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <new>

#include "text/tokenizer.h"

namespace {
std::atomic<size_t> held = 0, most_held = 0;

void* Counted(void* memory) {
  const size_t now = held += malloc_usable_size(memory);
  for (size_t most = most_held; now > most && !most_held.compare_exchange_weak(most, now);) {
  }
  return memory;
}
void Release(void* memory) {
  held -= malloc_usable_size(memory);
  ::operator delete (memory, std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__});
}
}  // namespace

// The aligned forms are not replaced: they give the memory.
void* operator new(std::size_t bytes) {
  return Counted(::operator new (bytes, std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__}));
}
void operator delete(void* memory) noexcept { Release(memory); }
void operator delete(void* memory, std::size_t) noexcept { Release(memory); }

namespace unimax {
namespace {

constexpr bool kSanitized = UM_SANITIZERS[0] != 0;
constexpr size_t kMiB = 1 << 20;
constexpr size_t kScale = kSanitized ? 16 : 1;  // the large files are so much smaller under sanitizers

struct Seen {
  int cases = 0;
  double ratio = 0;  // of the heap to the file, files below a MiB counted as one
  std::string worst;
};

// Loads and uses `file`; returns the error's text, "" for none.
std::string Load(const std::string& name, const std::string& file, Seen* seen) {
  const size_t before = held;
  most_held = before;
  size_t most = 0;
  std::string error;
  {
    const auto made = Tokenizer::FromJson(file);
    most = most_held;
    if (made.ok()) {
      const Tokenizer& t = **made;
      for (const std::string_view text : {"Hello w\xc3\xb6rld 123\n", "<s>\xe4\xb8\xad aab <t1>", ""}) {
        const auto ids = t.Encode(text, true);
        for (const int id : ids) EXPECT_TRUE(id >= 0 && id < t.vocab_size()) << name;
        t.Decode(ids, false);
      }
    } else {
      error = made.status().text();
      EXPECT_EQ(made.status().kind(), ErrorKind::kBadModel) << name;
      EXPECT_FALSE(error.empty()) << name;
      EXPECT_LT(error.size(), 2000u) << name;
      EXPECT_EQ(error.find('\n'), std::string::npos) << name << ": " << error;
    }
  }
  const double ratio = static_cast<double>(most - before) / static_cast<double>(std::max(file.size(), kMiB));
  ++seen->cases;
  if (ratio > seen->ratio) {
    seen->ratio = ratio;
    seen->worst = name;
  }
  return error;
}

std::string WithModel(const std::string& model, const std::string& rest = "") {
  return "{" + rest + (rest.empty() ? "" : ",") + "\"model\":" + model + "}";
}
std::string Bpe(const std::string& vocab, const std::string& merges, const std::string& rest = "") {
  return WithModel("{\"type\":\"BPE\",\"vocab\":" + vocab + ",\"merges\":" + merges + "}", rest);
}
constexpr const char* kVocab = R"({"a":0,"b":1,"ab":2,"c":3,"aab":4})";
constexpr const char* kMerges = R"(["a b","a ab"])";
std::string Small(const std::string& rest) { return Bpe(kVocab, kMerges, rest); }
std::string Unigram(const std::string& vocab, const std::string& more = "") {
  return WithModel("{\"type\":\"Unigram\",\"vocab\":" + vocab + more + "}");
}
std::string Repeat(const std::string& unit, size_t times) {
  std::string all;
  all.reserve(unit.size() * times);
  for (size_t i = 0; i < times; ++i) all += unit;
  return all;
}
std::string List(const std::string& unit, size_t times) {
  std::string all = "[" + Repeat(unit + ",", times);
  all.back() = ']';
  return all;
}

// The word number `i` of those with `length` letters out of 64.
std::string Word(size_t i, size_t length) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+";
  std::string word(length, 'a');
  for (size_t at = length; at-- > 0; i /= kLetters.size()) word[at] = kLetters[i % kLetters.size()];
  return word;
}

std::string Scattered(size_t i) {  // different words without common beginnings
  std::string word;
  for (uint64_t h = (i + 1) * 0x9e3779b97f4a7c15u; word.size() < 20;
       h = h * 6364136223846793005u + 1442695040888963407u)
    word += static_cast<char>('a' + (h >> 59) % 26);
  return word;
}

struct Row {
  const char* name;
  std::string file;
  const char* says;  // a part of the error; "": it loads; nullptr: either
};

std::vector<Row> SmallRows() {
  const auto added = [](const std::string& token) { return Small("\"added_tokens\":[" + token + "]"); };
  const auto part = [](const std::string& key, const std::string& value) { return Small("\"" + key + "\":" + value); };
  const std::string deep = std::string(63, '[') + std::string(63, ']');
  return {
      {"plain", Small(""), ""},
      {"empty", "", "not valid JSON"},
      {"blank", "  \n", "not valid JSON"},
      {"a list", "[]", "not a JSON object"},
      {"a string", "\"x\"", "not a JSON object"},
      {"null", "null", "not a JSON object"},
      {"no model", "{}", "no model"},
      {"model null", WithModel("null"), "no model"},
      {"model a list", WithModel("[1,2]"), "no model"},
      {"model a number", WithModel("7"), "no model"},
      {"two models", R"({"model":{"type":"BPE"},"model":{"type":"BPE"}})", "two members 'model'"},
      {"two vocabularies", WithModel(R"({"type":"BPE","vocab":{},"vocab":{},"merges":[]})"), "two members 'vocab'"},
      {"two lists of tokens", Small(R"("added_tokens":[],"added_tokens":[])"), "two members 'added_tokens'"},
      {"no type", WithModel("{}"), "no type"},
      {"type a number", WithModel(R"({"type":3,"vocab":{},"merges":[]})"), "no type"},
      {"type unknown", WithModel(R"({"type":"Quux","vocab":{"a":0}})"), "'Quux' is not supported"},
      {"type by merges", WithModel(R"({"vocab":{"a":0},"merges":[]})"), ""},
      {"merges before vocab", WithModel(R"({"merges":["a b"],"vocab":{"a":0,"b":1,"ab":2},"type":"BPE"})"), ""},
      {"model before its kin", R"({"model":{"vocab":{"a":0},"merges":[]},"added_tokens":[{"id":1,"content":"<s>"}]})",
       ""},
      {"no vocab", WithModel(R"({"type":"BPE","merges":[]})"), "vocab is not an object"},
      {"vocab null", Bpe("null", "[]"), "vocab is not an object"},
      {"vocab a list", Bpe("[]", "[]"), "vocab is not an object"},
      {"vocab a string", Bpe("\"a\"", "[]"), "vocab is not an object"},
      {"vocab empty", Bpe("{}", "[]"), nullptr},
      {"id a string", Bpe(R"({"a":"0"})", "[]"), "id in the tokenizer's vocab"},
      {"id null", Bpe(R"({"a":null})", "[]"), "id in the tokenizer's vocab"},
      {"id a list", Bpe(R"({"a":[0]})", "[]"), "id in the tokenizer's vocab"},
      {"id an object", Bpe(R"({"a":{"b":0}})", "[]"), "id in the tokenizer's vocab"},
      {"id a fraction", Bpe(R"({"a":0.5})", "[]"), "id in the tokenizer's vocab"},
      {"id below 0", Bpe(R"({"a":-1})", "[]"), "id in the tokenizer's vocab"},
      {"id 2^31", Bpe(R"({"a":2147483648})", "[]"), "id in the tokenizer's vocab"},
      {"id 2^64", Bpe(R"({"a":18446744073709551616})", "[]"), "id in the tokenizer's vocab"},
      {"id 1e300", Bpe(R"({"a":1e300})", "[]"), "id in the tokenizer's vocab"},
      {"id far off", Bpe(R"({"a":15999999})", "[]"), "token id 15999999 and only 1 tokens"},
      {"ids with gaps", Bpe(R"({"a":0,"b":77,"ab":200000})", R"(["a b"])"), ""},
      {"one id twice", Bpe(R"({"a":0,"b":0})", "[]"), ""},
      {"one piece twice", Bpe(R"({"a":0,"a":1})", "[]"), ""},
      {"empty piece", Bpe(R"({"":0,"a":1})", "[]"), ""},
      {"NUL piece", Bpe(R"({"\u0000":0,"a":1})", "[]"), ""},
      {"lone surrogate", Bpe(R"({"\ud800":0})", "[]"), "not valid JSON"},
      {"not UTF-8", Bpe("{\"\xff\":0}", "[]"), "not valid JSON"},
      {"cut in a piece", Bpe("{\"a", ""), "not valid JSON"},
      {"cut in the model", R"({"model":{"type":"BPE","vocab":{"a":0})", "not valid JSON"},
      {"more behind", Small("") + "{}", "not valid JSON"},
      {"a comma too many", Bpe(R"({"a":0,})", "[]"), "not valid JSON"},
      {"a comment", "/* */" + Small(""), "not valid JSON"},
      {"NaN", Unigram(R"([["a",NaN]])"), "not valid JSON"},
      {"no merges", WithModel(R"({"type":"BPE","vocab":{"a":0}})"), "merges is not a list"},
      {"merges an object", Bpe(kVocab, "{}"), "merges is not a list"},
      {"merge a number", Bpe(kVocab, "[1]"), "merge 0 of the tokenizer is not a pair"},
      {"merge of one", Bpe(kVocab, R"(["a b",["a"]])"), "merge 1 of the tokenizer is not a pair"},
      {"merge of three", Bpe(kVocab, R"([["a","b","c"]])"), "not a pair"},
      {"merge with two spaces", Bpe(kVocab, R"(["a b c"])"), "not a pair"},
      {"merge without a space", Bpe(kVocab, R"(["ab"])"), "not a pair"},
      {"merge of a list", Bpe(kVocab, R"([["a",["b"]]])"), "not a pair"},
      {"merge of the unknown", Bpe(kVocab, R"(["a x"])"), "not in the vocabulary"},
      {"merge into the unknown", Bpe(kVocab, R"(["b a"])"), "not in the vocabulary"},
      {"merge twice", Bpe(kVocab, R"(["a b","a ab","a b"])"), ""},
      {"merges in a circle", Bpe(R"({"a":0,"aa":1,"aaa":2,"aaaa":0})", R"(["a a","aa a","aa aa","a aaa"])"), ""},
      {"merge with nothing", Bpe(R"({"":0,"a":1})", R"([["","a"],["a",""]])"), ""},
      {"unigram with ids", Unigram(R"({"a":0})"), "not a list of pieces and scores"},
      {"unigram empty", Unigram("[]"), "not a list of pieces and scores"},
      {"unigram of strings", Unigram(R"(["a"])"), "piece 0 of the tokenizer"},
      {"unigram turned round", Unigram(R"([["a",1],[1,"a"]])"), "piece 1 of the tokenizer"},
      {"unigram of three", Unigram(R"([["a",1,2]])"), "piece 0 of the tokenizer"},
      {"unigram of one", Unigram(R"([["a"]])"), "piece 0 of the tokenizer"},
      {"unigram nested", Unigram(R"([["a",[1]]])"), "piece 0 of the tokenizer"},
      {"unigram, unk far off", Unigram(R"([["a",1]])", R"(,"unk_id":5)"), "unk_id 5 is not there"},
      {"unigram, unk 2^40", Unigram(R"([["a",1]])", R"(,"unk_id":1099511627776)"), "unk_id"},
      {"unigram, score 1e308", Unigram(R"([["a",1e308],["b",-1e308],["ab",0]])"), ""},
      {"unigram, one piece twice", Unigram(R"([["a",-1],["a",-2],["b",-1]])"), ""},
      {"wordpiece, long words",
       WithModel(R"({"type":"WordPiece","vocab":{"[UNK]":0},"max_input_chars_per_word":1000000000})"), "at most"},
      {"tokens an object", Small(R"("added_tokens":{})"), "added_tokens is not a list"},
      {"token a string", added("\"<s>\""), "not an object"},
      {"token without id", added(R"({"content":"x"})"), "id in the tokenizer's added_tokens"},
      {"token without content", added(R"({"id":9})"), "'content' is not a string"},
      {"token id below 0", added(R"({"id":-1,"content":"x"})"), "id in the tokenizer's added_tokens"},
      {"token id far off", added(R"({"id":15999999,"content":"x"})"), "token id 15999999 and only 6 tokens"},
      {"token id 2^53", added(R"({"id":9007199254740993,"content":"x"})"), "id in the tokenizer's added_tokens"},
      {"token flag a string", added(R"({"id":9,"content":"x","special":"yes"})"),
       "'special' is neither true nor false"},
      {"token with more", added(R"({"id":9,"content":"x","more":{"id":-1,"content":[{}]}})"), ""},
      {"token empty", added(R"({"id":9,"content":""})"), ""},
      {"token twice", added(R"({"id":9,"content":"x"},{"id":10,"content":"x"},{"id":9,"content":"y"})"), ""},
      {"tokens within tokens", added(R"({"id":9,"content":"<s>"},{"id":10,"content":"<"},{"id":11,"content":"<s>>"})"),
       ""},
      {"normalizer a list", part("normalizer", "[]"), "normalizer of the tokenizer has no type"},
      {"normalizer unknown", part("normalizer", R"({"type":"NFQ"})"), "'NFQ'"},
      {"normalizers in a string", part("normalizer", R"({"type":"Sequence","normalizers":"NFC"})"), "normalizers"},
      {"charsmap not base64", part("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"?"})"), "base64"},
      {"charsmap cut", part("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"/////w=="})"), "charsmap"},
      {"regex open",
       part("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"(a"},"behavior":"Isolated","invert":false})"),
       "regex pattern"},
      {"regex nested",
       part("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":")" + std::string(100, '(') +
                                 R"("},"behavior":"Isolated","invert":false})"),
       "regex pattern"},
      {"decoder unknown", part("decoder", R"({"type":"Zip"})"), "'Zip'"},
      {"processor unknown", part("post_processor", R"({"type":"Zip"})"), "'Zip'"},
      {"frame without ids",
       part("post_processor", R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]})"), "no ids"},
      {"frame far off", part("post_processor", R"({"type":"BertProcessing","sep":["x",99],"cls":["y",1]})"),
       "token 99, which is not there"},
      {"frame a list of lists", part("post_processor", R"({"type":"BertProcessing","sep":[[]],"cls":["y",1]})"), "sep"},
      {"depth 64", part("extra", deep), ""},
      {"depth 65", part("extra", "[" + deep + "]"), "nested deeper than 64"},
      {"depth 500,000", "{\"a\":" + std::string(500000, '['), "nested deeper than 64"},
      {"depth of objects", Repeat("{\"a\":", 100000), "nested deeper than 64"},
  };
}

// `"piece":id` for `n` pieces that `word` gives.
template <class F>
std::string VocabOf(size_t n, F word) {
  std::string all = "{";
  for (size_t i = 0; i < n; ++i) all += fmt::format("{}\"{}\":{}", i > 0 ? "," : "", word(i), i);
  return all + "}";
}
template <class F>
std::string ScoresOf(size_t n, std::string_view score, F word) {
  std::string all = "[[\"a\",-9.5]";
  for (size_t i = 0; i < n; ++i) all += fmt::format(",[\"{}\",{}]", word(i), score);
  return all + "]";
}

// Letters, all pairs of them and `words` of three, made by one merge or by both that are possible.
std::string LayeredBpe(size_t words, bool both, const std::string& more) {
  const auto word = [](size_t i) { return i < 64 ? Word(i, 1) : i < 4160 ? Word(i - 64, 2) : Word(i - 4160, 3); };
  std::string merges;
  for (size_t i = 64; i < 4160 + words; ++i) {
    const std::string whole = word(i);
    merges += fmt::format(",\"{} {}\"", whole.substr(0, whole.size() - 1), whole.back());
    if (both && whole.size() == 3) merges += fmt::format(",\"{} {}\"", whole[0], whole.substr(1));
  }
  merges[0] = '[';
  return WithModel("{\"type\":\"BPE\",\"vocab\":" + VocabOf(4160 + words, word) + ",\"merges\":" + merges + "]" +
                       (both ? ",\"ignore_merges\":true" : "") + "}",
                   more);
}

std::string Published(const std::string& text) {  // "abc" as a piece that begins a word
  return "\xe2\x96\x81" + text;
}

std::string Added(size_t n, size_t bytes, bool normalized) {
  std::string all = "\"added_tokens\":[";
  for (size_t i = 0; i < n; ++i) {
    std::string content = Scattered(i);
    while (content.size() < bytes) content += Scattered(i + content.size());
    content.resize(bytes > 0 ? bytes : 4);
    all += fmt::format("{}{{\"id\":{},\"content\":\"{}\"{}}}", i > 0 ? "," : "", i + 5, content,
                       normalized ? "" : ",\"special\":true");
  }
  return all + "]";
}
std::string Text(size_t kib) { return std::string(kib << 10, 'a'); }
std::string Regex(const std::string& source) {
  return R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":")" + source +
         R"("},"behavior":"Isolated","invert":false})";
}
std::string Replace(const std::string& what, const std::string& by) {
  return R"({"type":"Replace","pattern":{"String":")" + what + R"("},"content":")" + by + "\"}";
}
std::string Steps(const std::string& steps) {
  return R"("normalizer":{"type":"Sequence","normalizers":)" + steps + "}";
}

struct LargeRow {
  const char* name;
  std::string (*file)();
  const char* says;
};
constexpr const char* kByteLevel =
    R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";

const LargeRow kLargeRows[] = {
    {"BPE of 128k", [] { return LayeredBpe(124000 / kScale, false, kByteLevel); }, ""},
    {"Unigram of 400k",
     [] { return Unigram(ScoresOf(400000 / kScale, "-11.2345", [](size_t i) { return Published(Word(i, 5)); })); }, ""},
    {"lists, 2M, unknown member", [] { return Small("\"x\":" + List("[]", 2000000 / kScale)); }, ""},
    {"lists, 2M, normalizer", [] { return Small("\"normalizer\":" + List("[]", 2000000 / kScale)); }, "more than 8192"},
    {"lists, 2M, vocab", [] { return Unigram(List("[]", 2000000 / kScale)); }, "piece 0"},
    {"lists, 2M, merges", [] { return Bpe(kVocab, List("[]", 2000000 / kScale)); }, "merge 0"},
    {"lists, 2M, tokens", [] { return Small("\"added_tokens\":" + List("[]", 2000000 / kScale)); }, "not an object"},
    {"objects, 1M", [] { return Small("\"decoder\":" + List("{\"\":{}}", 1000000 / kScale)); }, "more than 8192"},
    {"members, 1M",
     [] {
       std::string members = "\"x\":0";
       for (size_t i = 0; i < 1000000 / kScale; ++i) members += fmt::format(",\"{}\":0", i);
       return Small(members);
     },
     "more than 8192 members"},
    {"BPE, dense", [] { return LayeredBpe(262144 / kScale, true, kByteLevel); }, ""},
    {"BPE, dense, no bytes", [] { return LayeredBpe(262144 / kScale, true, ""); }, ""},
    {"BPE, scattered", [] { return Bpe(VocabOf(100000 / kScale, Scattered), "[]"); }, ""},
    {"BPE, one merge", [] { return Bpe(kVocab, List("\"a b\"", 2000000 / kScale)); }, ""},
    {"BPE, one piece", [] { return Bpe("{" + Repeat("\"a\":0,", 1000000 / kScale) + "\"a\":1}", "[]"); }, ""},
    {"Unigram, dense", [] { return Unigram(ScoresOf(262144 / kScale, "0", [](size_t i) { return Word(i, 3); })); }, ""},
    {"Unigram, scattered", [] { return Unigram(ScoresOf(100000 / kScale, "0", Scattered)); }, ""},
    {"Unigram, shared beginnings",
     [] {
       return Unigram(ScoresOf(100000 / kScale, "-1.1",
                               [](size_t i) { return Repeat(Scattered(i / 2), 4) + (i % 2 == 0 ? "x" : "y"); }));
     },
     ""},
    {"Unigram, one piece", [] { return Unigram(ScoresOf(1000000 / kScale, "0", [](size_t) { return ""; })); }, ""},
    {"Unigram, short fractions",
     [] { return Unigram(ScoresOf(262144 / kScale, "-1.1", [](size_t i) { return Word(i, 3); })); }, ""},
    {"WordPiece, scattered",
     [] { return WithModel(R"({"type":"WordPiece","vocab":)" + VocabOf(100000 / kScale, Scattered) + "}"); }, ""},
    {"WordLevel, dense",
     [] {
       return WithModel(R"({"type":"WordLevel","vocab":)" +
                        VocabOf(262144 / kScale, [](size_t i) { return Word(i, 3); }) + "}");
     },
     ""},
    {"tokens, 65536", [] { return Small(Added(65536, 0, true)); }, ""},
    {"tokens, 65537", [] { return Small(Added(65537, 0, true)); }, "more than 65536 added tokens"},
    {"tokens, long", [] { return Small(Added(65536 / kScale, 200, true)); }, ""},
    {"tokens, long, special", [] { return Small(Added(65536 / kScale, 200, false)); }, ""},
    {"a token of 600 KiB", [] { return Small("\"added_tokens\":[{\"id\":5,\"content\":\"" + Text(600) + "\"}]"); }, ""},
    {"a piece of 680 KiB", [] { return Bpe("{\"" + Text(680) + "\":0}", "[]"); }, ""},
    {"a piece of 680 KiB, open", [] { return "{\"model\":{\"vocab\":{\"" + Text(680); }, "not valid JSON"},
    {"a piece of 680 KiB, not UTF-8", [] { return Bpe("{\"" + Text(680) + "\xff\":0}", "[]"); }, "not valid JSON"},
    {"a piece of 520 KiB, not UTF-8", [] { return Bpe("{\"" + Text(520) + "\xff\":0}", "[]"); }, "not valid JSON"},
    {"a piece of 60 MiB", [] { return Bpe("{\"" + Text(60 << 10) + "\":0}", "[]"); }, "at most 700000"},
    {"a piece of 60 MiB, open", [] { return "{\"model\":{\"vocab\":{\"" + Text(60 << 10); }, "at most 700000"},
    {"a number of 680 KiB", [] { return Bpe("{\"a\":" + std::string(680 << 10, '1') + "}", "[]"); }, nullptr},
    {"a number of 60 MiB", [] { return Bpe("{\"a\":" + std::string(60 << 20, '1') + "}", "[]"); }, "at most 700000"},
    {"spaces, 60 MiB", [] { return Small("\"x\":" + std::string(60 << 20, ' ') + "1"); }, "at most 700000"},
    {"spaces, 680 KiB", [] { return Small("\"x\":" + std::string(680 << 10, ' ') + "$"); }, "not valid JSON"},
    {"escapes", [] { return Bpe("{\"" + Repeat("\\u00e9", 100000) + "\":0}", "[]"); }, ""},
    {"backslashes", [] { return Bpe("{\"" + Repeat("\\\\", 300000) + "\":0}", "[]"); }, ""},
    {"a name of 680 KiB", [] { return Small("\"" + Text(680) + "\":1"); }, ""},
    {"two names of 680 KiB", [] { return Small("\"" + Text(680) + "\":1,\"" + Text(680) + "\":1"); }, "two members"},
    {"a type of 680 KiB", [] { return WithModel("{\"type\":\"" + Text(680) + "\",\"vocab\":{}}"); }, "a type of"},
    {"a normalizer's type of 680 KiB", [] { return Small("\"normalizer\":{\"type\":\"" + Text(680) + "\"}"); },
     "a type of"},
    {"a merge of 680 KiB", [] { return Bpe(kVocab, "[\"a " + Text(680) + "\"]"); }, "not in the vocabulary"},
    {"a regex of 680 KiB", [] { return Small(Regex(Text(680))); }, "more than 32768"},
    {"a regex of 20 KiB", [] { return Small(Regex(Text(20))); }, "at most 16384"},
    {"a regex of white space", [] { return Small(Regex(Repeat("\\\\s", 8000))); }, "regex pattern"},
    {"a regex of repeats", [] { return Small(Regex(Repeat("a{1,60}", 1000))); }, nullptr},
    {"a text of 680 KiB to replace", [] { return Small(Steps("[" + Replace(Text(680), "b") + "]")); }, ""},
    {"a prefix of 680 KiB", [] { return Small(R"("normalizer":{"type":"Prepend","prepend":")" + Text(680) + "\"}"); },
     ""},
    {"a charsmap of 680 KiB",
     [] { return Small(R"("normalizer":{"type":"Precompiled","precompiled_charsmap":")" + Text(680) + "\"}"); },
     "charsmap"},
    {"steps, 800", [] { return Small(Steps(List(Replace("zz", "z"), 800))); }, ""},
    {"steps, 100k", [] { return Small(Steps(List(Replace("zz", "z"), 100000 / kScale))); }, "more than 8192"},
    {"pre-tokenizers, 65",
     [] {
       return Small(R"("pre_tokenizer":{"type":"Sequence","pretokenizers":)" +
                    List(R"({"type":"UnicodeScripts"})", 65) + "}");
     },
     "more than 64"},
    {"a bomb of replacements",
     [] { return Small(Steps(List(Replace("q", "qq"), 200)) + R"(,"added_tokens":[{"id":5,"content":"q"}])"); },
     "makes its added token 5 too long"},
    {"a bomb in one replacement",
     [] {
       return Small(Steps("[" + Replace("q", Text(680)) + "]") + R"(,"added_tokens":[{"id":5,"content":")" +
                    std::string(1000, 'q') + "\"}]");
     },
     "makes its added token 5 too long"},
    {"a bomb of a frame",
     [] {
       std::string twice = R"({"type":"TemplateProcessing","single":[{"Sequence":{}},{"Sequence":{}}]})";
       return Small(R"("post_processor":{"type":"Sequence","processors":)" + List(twice, 40) + "}");
     },
     "template is too long"},
    {"65 MiB", [] { return std::string(65 * kMiB, ' '); }, "at most 67108864 are read"},
};

TEST(B07, TokenizerJsonTakesLittleMemoryAndNeverCrashes) {
  Seen small, large;
  int wrong = 0;
  const auto check = [&](const std::string& name, const std::string& file, const char* says, Seen* seen) {
    const std::string error = Load(name, file, seen);
    const bool right = says == nullptr || (says[0] == '\0' ? error.empty() : error.find(says) != std::string::npos);
    EXPECT_TRUE(right) << name << ": " << error.substr(0, 500);
    wrong += right ? 0 : 1;
  };
  for (const Row& row : SmallRows()) check(row.name, row.file, row.says, &small);
  for (const LargeRow& row : kLargeRows) check(row.name, row.file(), row.says, &large);
  const double ratio = std::max(small.ratio, large.ratio);
  const bool pass = ratio <= 8 && small.cases + large.cases >= 80 && wrong == 0;
  fmt::print("B07 crashes=0 peak_ratio={:.2f} cases={} wrong={} {}\n", ratio, small.cases + large.cases, wrong,
             pass ? "PASS" : "FAIL");
  fmt::print("largest of small files: {}; of large ones: {}\n", small.worst, large.worst);
  EXPECT_LE(ratio, 8) << large.worst;
}

}  // namespace
}  // namespace unimax
