// SPDX-License-Identifier: Apache-2.0
// The file of keys and values by itself: what was written comes back, and nothing else ever does.
#include "engine/kv_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "engine/philox.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

constexpr int kPages = 5;

KvKind Kind() {
  KvKind kind;
  kind.weights.fill(3);
  kind.program.fill(4);
  kind.form = "unimax 1, team, f32 KV";
  kind.page_tokens = 32;
  kind.layers = 2;
  kind.kv_heads = 1;
  kind.head_dim = 16;
  kind.page_bytes = 96;
  return kind;
}

std::vector<int> Ids(int count) {
  std::vector<int> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 7);
  return ids;
}

std::vector<std::byte> PageOf(int index, uint64_t bytes) {
  std::vector<std::byte> page;
  for (uint64_t i = 0; i < bytes; ++i)
    page.push_back(static_cast<std::byte>(i * 7 + static_cast<uint64_t>(index) * 41));
  return page;
}

std::string Place(const std::string& name) { return (fs::path(testing::TempDir()) / name).string(); }

void Written(const std::string& path, const KvKind& kind, int pages = kPages) {
  NewFile file("prompt cache");
  ASSERT_TRUE(file.Create(path).ok());
  KvFileWriter writer(file);
  ASSERT_TRUE(writer.Begin(kind, Ids(pages * static_cast<int>(kind.page_tokens))).ok());
  for (int i = 0; i < pages; ++i) ASSERT_TRUE(writer.AddPage(PageOf(i, kind.page_bytes)).ok());
  ASSERT_TRUE(writer.Finish().ok());
}

std::string ContentOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Put(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// Pages that the file gives; only what was written may come.
int PagesGiven(const std::string& path, const KvKind& kind) {
  Result<KvFile> file = KvFile::Open(path, kind);
  if (!file.ok()) return 0;
  EXPECT_TRUE(std::ranges::equal(file->ids(), Ids(kPages * static_cast<int>(kind.page_tokens))));
  int given = 0;
  std::vector<std::byte> page(kind.page_bytes);
  for (int i = 0; i < file->pages(); ++i) {
    if (!file->ReadPage(i, page).ok()) continue;
    EXPECT_EQ(page, PageOf(i, kind.page_bytes));
    ++given;
  }
  return given;
}

std::string Refusal(const std::string& path, const KvKind& kind) {
  const Result<KvFile> file = KvFile::Open(path, kind);
  return file.ok() ? "" : std::string(file.status().text());
}

TEST(KvFile, GivesBackWhatWasWritten) {
  const std::string path = Place("kv_file");
  Written(path, Kind());
  EXPECT_EQ(PagesGiven(path, Kind()), kPages);
  // The layout is a promise: a file of another machine or of next year must read the same.
  const std::string content = ContentOf(path);
  const size_t head = 112 + Kind().form.size() + 4 * 32 * kPages + 32;
  EXPECT_EQ(content.size(), head + kPages * (32 + 96));
  EXPECT_EQ(content.substr(0, 16), std::string("unimaxKV\x06\0\0\0\x05\0\0\0", 16));
  EXPECT_EQ(content.substr(112, 14), "unimax 1, team");
  EXPECT_EQ(content.substr(112 + Kind().form.size(), 4), std::string("\x07\0\0\0", 4));
  EXPECT_EQ(content.substr(head + 32 + 1, 1), "\x07");
}

TEST(KvFile, EveryFlippedByteIsSeen) {
  const std::string path = Place("kv_file_flipped");
  Written(path, Kind());
  const std::string whole = ContentOf(path);
  const size_t head = whole.size() - kPages * (32 + 96);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](size_t at, char byte) { file.seekp(static_cast<std::streamoff>(at)).put(byte).flush(); };
  for (size_t at = 0; at < whole.size(); ++at) {
    put(at, static_cast<char>(whole[at] ^ (1 + static_cast<int>(PhiloxUniform(5, at) * 255))));
    EXPECT_EQ(PagesGiven(path, Kind()), at < head ? 0 : kPages - 1) << at;
    put(at, whole[at]);
  }
  EXPECT_EQ(PagesGiven(path, Kind()), kPages);
}

TEST(KvFile, EveryCutAndEveryAdditionIsSeen) {
  const std::string path = Place("kv_file_cut");
  Written(path, Kind());
  const std::string whole = ContentOf(path);
  for (size_t length = whole.size(); length-- > 0;) {
    fs::resize_file(path, length);
    EXPECT_EQ(PagesGiven(path, Kind()), 0) << length;
  }
  for (const size_t more : {1, 31, 128, 5 * 128}) {
    Put(path, whole + std::string(more, '\0'));
    EXPECT_EQ(PagesGiven(path, Kind()), 0) << more;
  }
}

TEST(KvFile, AnyOtherKindIsRefusedAndSaysWhy) {
  const std::string path = Place("kv_file_kinds");
  Written(path, Kind());
  const auto refused = [&](auto change) {
    KvKind wanted = Kind();
    change(wanted);
    return Refusal(path, wanted);
  };
  const auto has = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  EXPECT_TRUE(has(refused([](KvKind& k) { k.weights[31] ^= 1; }), "other weights"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.program[0] ^= 1; }), "another program"));
  EXPECT_TRUE(
      has(refused([](KvKind& k) { k.form = "unimax 1, team, f16 KV"; }), "another executor (unimax 1, team, f32"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.form += " "; }), "another executor"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.page_tokens = 16; }), "pages of 32 tokens, these have 16"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.rope_set = 1; }), "another length"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.layers = 3; }), "another program"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.kv_heads = 2; }), "another program"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.head_dim = 8; }), "another program"));
  EXPECT_TRUE(has(refused([](KvKind& k) { k.page_bytes = 48; }), "another program"));
  EXPECT_EQ(refused([](KvKind&) {}), "");
}

// A head that claims what the file does not have, with checksums that fit: nothing is taken on its word.
TEST(KvFile, ClaimsAreHeldToTheLengthOfTheFile) {
  const std::string path = Place("kv_file_claims");
  Written(path, Kind());
  const std::string whole = ContentOf(path);
  const size_t head = whole.size() - kPages * (32 + 96);
  const struct {
    size_t at, bytes;
  } fields[] = {{12, 4}, {16, 4}, {20, 4}, {24, 8}};  // pages, page_tokens, form, page_bytes
  for (const auto& field : fields) {
    for (const uint64_t claim : {uint64_t{0}, uint64_t{1}, uint64_t{6}, uint64_t{0x7fffffff}, uint64_t{0xffffffff},
                                 uint64_t{1} << 62, ~uint64_t{0}, ~uint64_t{0} - 31, ~uint64_t{0} - 127}) {
      std::string content = whole;
      for (size_t i = 0; i < field.bytes; ++i) content[field.at + i] = static_cast<char>(claim >> (8 * i));
      const Sha256Digest digest = Sha256().Add(std::as_bytes(std::span(content).first(head - 32))).End();
      content.replace(head - 32, 32, reinterpret_cast<const char*>(digest.data()), 32);
      Put(path, content);
      EXPECT_NE(Refusal(path, Kind()), "") << field.at << " " << claim;
    }
  }
}

TEST(KvFile, WhatIsNoSuchFileIsSaid) {
  const std::string path = Place("kv_file_other");
  Put(path, std::string(4096, 'x'));
  EXPECT_NE(Refusal(path, Kind()).find("no file of keys and values"), std::string::npos);
  EXPECT_NE(Refusal("/dev/zero", Kind()).find("no file of keys and values"), std::string::npos);
  EXPECT_NE(Refusal(testing::TempDir(), Kind()).find("no file of keys and values"), std::string::npos);
  EXPECT_NE(Refusal(Place("absent"), Kind()).find("No such file"), std::string::npos);
  const std::string pipe = Place("kv_file_pipe");
  fs::remove(pipe);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(Refusal(pipe, Kind()), "");  // and nobody waits for a writer
  fs::remove(pipe);
  Written(path, Kind());
  std::string content = ContentOf(path);
  content[8] = 5;
  Put(path, content);
  EXPECT_NE(Refusal(path, Kind()).find("of version 5, this program reads 6"), std::string::npos);
}

// The same page of two files: of one it is right, in the other it is a foreign one.
TEST(KvFile, APageOfAnotherFileIsRefused) {
  const std::string path = Place("kv_file_mixed"), other = Place("kv_file_mixed_other");
  KvKind kind = Kind();
  Written(path, kind);
  kind.weights.fill(9);
  Written(other, kind);
  std::string content = ContentOf(path);
  const std::string foreign = ContentOf(other);
  const size_t last = content.size() - (32 + 96);
  content.replace(last, 32 + 96, foreign, last, 32 + 96);
  Put(path, content);
  EXPECT_EQ(PagesGiven(path, Kind()), kPages - 1);
  content = ContentOf(other);  // two pages that changed places
  std::swap_ranges(content.begin() + static_cast<ptrdiff_t>(last), content.end(),
                   content.begin() + static_cast<ptrdiff_t>(last) - (32 + 96));
  Put(other, content);
  EXPECT_EQ(PagesGiven(other, kind), kPages - 2);
}

}  // namespace
}  // namespace unimax
