// SPDX-License-Identifier: Apache-2.0
// Row A03: cut files and incomplete sets of shards are refused. Row A04: memory is bound by the file, not by its
// claims.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "weights/checkpoint.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

namespace fs = std::filesystem;

// 200 places spread over the file, and every border of a tensor.
template <class File>
std::set<size_t> Cuts(const std::string& bytes, const File& file) {
  std::set<size_t> cuts;
  for (size_t i = 0; i < 200; ++i) cuts.insert(bytes.size() * i / 200);
  for (const TensorView& tensor : file.tensors()) {
    const auto begin = static_cast<size_t>(tensor.bytes.data() - AsBytes(bytes).data());
    cuts.insert({begin, begin + tensor.bytes.size() - 1});
    if (begin + tensor.bytes.size() < bytes.size()) cuts.insert(begin + tensor.bytes.size());
  }
  return cuts;
}

class Incomplete : public testing::Test {
 protected:
  // The content is served when it opens.
  void Judge(bool served, const std::string& what) {
    ++cases_;
    served_ += served;
    EXPECT_FALSE(served) << what;
  }
  void Report(const char* what) const {
    std::printf("A03 %s served=%d of %d %s\n", what, served_, cases_, served_ == 0 ? "PASS" : "FAIL");
  }
  int cases_ = 0, served_ = 0;
};

TEST_F(Incomplete, CutFilesAreRefused) {
  for (const char* name : {"f32", "q8_0", "q4_0"}) {
    const std::string bytes = ReadAll(DataPath(fmt::format("gguf/tiny-llama-{}.gguf", name)));
    const auto whole = GgufFile::Parse(AsBytes(bytes), "m");
    ASSERT_TRUE(whole.ok());
    for (const size_t cut : Cuts(bytes, *whole))
      Judge(GgufFile::Parse(AsBytes(bytes).first(cut), "m").ok(), fmt::format("{} cut at {}", name, cut));
  }
  const std::string bytes = ReadAll(DataPath("models/llama/model.safetensors"));
  const auto whole = SafetensorsFile::Parse(AsBytes(bytes), "m");
  ASSERT_TRUE(whole.ok());
  for (const size_t cut : Cuts(bytes, *whole))
    Judge(SafetensorsFile::Parse(AsBytes(bytes).first(cut), "m").ok(), fmt::format("safetensors cut at {}", cut));
  EXPECT_GE(cases_, 800);
  Report("cuts");
}

TEST_F(Incomplete, WrongSetsOfShardsAreRefused) {
  const TempFolder folder("shards");
  std::vector<std::string> names;
  std::vector<std::string> contents;
  fs::copy(DataPath("models/llama_sharded"), folder.path(), fs::copy_options::recursive);
  for (int i = 1; i <= 3; ++i) {
    names.push_back(fmt::format("model-0000{}-of-00003.safetensors", i));
    contents.push_back(ReadAll(folder.File(names.back())));
  }
  const auto judge_all = [&](const std::string& what) {
    Judge(Checkpoint::Open(folder.path()).ok(), what);
    for (const std::string& name : names)  // start from each shard
      if (fs::exists(folder.File(name))) Judge(Checkpoint::Open(folder.File(name)).ok(), what + ", from " + name);
  };
  const auto restore = [&] {
    for (int i = 0; i < 3; ++i) WriteAll(folder.File(names[i]), contents[i]);
  };
  const Status whole = Checkpoint::Open(folder.path()).status();
  ASSERT_TRUE(whole.ok()) << whole.text();
  for (int i = 0; i < 3; ++i) {
    const int other = (i + 1) % 3;
    fs::remove(folder.File(names[i]));
    judge_all("dropped");
    WriteAll(folder.File(names[i]), contents[other]);
    judge_all("doubled");
    WriteAll(folder.File(names[other]), contents[i]);
    judge_all("swapped");
    restore();
    fs::rename(folder.File(names[i]), folder.File("renamed.safetensors"));
    judge_all("renamed");
    fs::remove(folder.File("renamed.safetensors"));
    WriteAll(folder.File(names[i]), "");
    judge_all("empty");
    for (int cut = 0; cut < 40; ++cut) {
      WriteAll(folder.File(names[i]), std::string_view(contents[i]).substr(0, contents[i].size() * cut / 40));
      Judge(Checkpoint::Open(folder.path()).ok(), "cut shard");
    }
    restore();
  }
  fs::remove(folder.File("model.safetensors.index.json"));
  judge_all("without index");
  EXPECT_GE(cases_, 150);
  Report("shards");
}

// 64 files of at most 1 KiB that declare 2^20 to 2^62 items.
std::vector<std::string> GreedyFiles() {
  std::vector<std::string> files;
  const uint64_t counts[] = {uint64_t{1} << 20, uint64_t{1} << 24, uint64_t{1} << 33, uint64_t{1} << 62};
  const std::string small = std::string(600, '\1');
  for (const uint64_t n : counts) {
    files.push_back("GGUF" + U32(3) + U64(0) + U64(n) + small);
    files.push_back("GGUF" + U32(3) + U64(n) + U64(0) + small);
    files.push_back("GGUF" + U32(3) + U64(0) + U64(1) + U64(n) + small);
    files.push_back(GgufBytes({GgufString("k") + U32(8) + U64(n) + small}, {}));
    for (const uint32_t type : {0u, 4u, 7u, 8u, 9u, 12u})
      files.push_back(GgufBytes({GgufKey("tokenizer.ggml.tokens", 9, U32(type) + U64(n) + small)}, {}));
    files.push_back(GgufBytes({}, {U64(n) + small}));
    files.push_back(GgufBytes({}, {GgufString("t") + U32(n) + small}));
    files.push_back(GgufBytes({}, {GgufTensor("t", {n, 32}, 0, 0)}, small));
    files.push_back(U64(n) + "{" + small);
    files.push_back(SafetensorsBytes(
        fmt::format(R"({{"t":{{"dtype":"F32","shape":[{},1],"data_offsets":[0,{}]}}}})", n, n), small));
    files.push_back(
        SafetensorsBytes(fmt::format(R"({{"t":{{"dtype":"F32","shape":[{},0],"data_offsets":[0,0]}}}})", n), small));
  }
  return files;
}

long PeakKib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// In a child with 1 GiB of addresses: exit status 0 when no file took more than 64 MiB.
int OpenGreedily(const TempFolder& folder, int files) {
  if (std::string_view(UM_SANITIZERS).empty()) {  // sanitizers reserve terabytes
    const rlimit limit = {uint64_t{1} << 30, uint64_t{1} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  }
  const long before = PeakKib();
  int accepted = 0;
  for (int i = 0; i < files; ++i) {
    const auto checkpoint = Checkpoint::Open(folder.File(fmt::format("{}", i)));
    accepted += checkpoint.ok();
    if (checkpoint.ok()) static_cast<void>(checkpoint->Vocab().ok());
  }
  const long extra = PeakKib() - before;
  std::printf("A04 peak_extra_kib=%ld files=%d killed=0 accepted=%d %s\n", extra, files, accepted,
              extra <= 65536 ? "PASS" : "FAIL");
  std::fflush(stdout);
  return extra <= 65536 ? 0 : 1;
}

TEST(Claims, TakeNoMemory) {
  const std::vector<std::string> files = GreedyFiles();
  ASSERT_EQ(files.size(), 64u);
  const TempFolder folder("greedy");
  for (size_t i = 0; i < files.size(); ++i) {
    ASSERT_LE(files[i].size(), 1024u);
    WriteAll(folder.File(fmt::format("{}", i)), files[i]);
  }
  std::fflush(stdout);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(OpenGreedily(folder, static_cast<int>(files.size())));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace unimax
