// SPDX-License-Identifier: Apache-2.0
// The host path for AMD GPUs as it runs: the code objects of this build, read by a stand-in driver that holds every
// launch to their metadata and runs it on the emulator; a whole tiny model with graphs; each call failing in turn.
#include <elf.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "device/code_objects.h"
#include "device/emulator_entry.h"
#include "device/hip_driver.h"
#include "engine/model.h"
#include "exec/graph.h"
#include "exec/reference.h"
#include "kernels/args.h"
#include "kernels/check.h"
#include "models/checkpoint_source.h"
#include "stand_in/code_object.h"
#include "stand_in/fixture.h"

namespace unimax {
namespace {

using nlohmann::json;
using Bytes = std::vector<unsigned char>;

constexpr bool kSlow = std::string_view(UM_SANITIZERS) != "";

struct Target {
  const char* name;
  int major, minor, lanes;
  std::span<const EmulatorEntry> (*entries)();
};
constexpr Target kTargets[] = {
    {"gfx90a", 9, 0, 64, EmulatorEntries64},       {"gfx942", 9, 4, 64, EmulatorEntries64},
    {"gfx950", 9, 5, 64, EmulatorEntriesMfma32},   {"gfx1100", 11, 0, 32, EmulatorEntriesWmma11},
    {"gfx1151", 11, 5, 32, EmulatorEntriesWmma11}, {"gfx1201", 12, 0, 32, EmulatorEntriesWmma12},
    {"gfx1101", 11, 0, 32, EmulatorEntriesWmma11}, {"gfx1200", 12, 0, 32, EmulatorEntriesWmma12}};

template <class T>
void Append(Bytes* bytes, const T& value) {
  const auto* from = reinterpret_cast<const unsigned char*>(&value);
  bytes->insert(bytes->end(), from, from + sizeof(T));
}

// A code object without code: headers and metadata, as the stand-in driver and the reader want them.
Bytes MakeObject(const json& metadata) {
  const Bytes packed = json::to_msgpack(metadata);
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = 224;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment = {};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof(header) + sizeof(segment);
  segment.p_filesz = sizeof(Elf64_Nhdr) + 8 + packed.size();
  header.e_shoff = segment.p_offset + segment.p_filesz;
  Bytes bytes;
  Append(&bytes, header);
  Append(&bytes, segment);
  Append(&bytes, Elf64_Nhdr{7, static_cast<Elf64_Word>(packed.size()), 32});
  bytes.insert(bytes.end(), {'A', 'M', 'D', 'G', 'P', 'U', 0, 0});
  bytes.insert(bytes.end(), packed.begin(), packed.end());
  return bytes;
}

json KernelOf(const EmulatorEntry& entry, int lanes) {
  return {{".name", entry.name},
          {".kernarg_segment_size", entry.args_bytes + 256u},
          {".group_segment_fixed_size", 0u},
          {".private_segment_fixed_size", 0u},
          {".max_flat_workgroup_size", static_cast<unsigned>(entry.max_threads)},
          {".wavefront_size", static_cast<unsigned>(lanes)},
          {".args",
           {{{".offset", 0u}, {".size", static_cast<unsigned>(entry.args_bytes)}, {".value_kind", "by_value"}},
            {{".offset", 256u}, {".size", 4u}, {".value_kind", "hidden_block_count_x"}}}}};
}

// Every kernel of the emulator, as a code object would list it.
json MetadataOf(const Target& target) {
  json kernels = json::array();
  for (const EmulatorEntry& entry : target.entries()) kernels.push_back(KernelOf(entry, target.lanes));
  return {{"amdhsa.target", std::string("amdgcn-amd-amdhsa--") + target.name}, {"amdhsa.kernels", kernels}};
}

EmbeddedCode Code(const char* target, const Bytes& bytes) {
  return {target, "entries", bytes.data(), bytes.data() + bytes.size()};
}

class HipTest : public StandInTest {
 protected:
  void Choose(const Target& target) {
    control_->runs = target.name;
    control_->major = target.major;
    control_->minor = target.minor;
  }
  Result<std::unique_ptr<Device>> Open(const Target& target, std::span<const EmbeddedCode> objects) {
    Choose(target);
    const std::string library = kStandIn;
    return OpenHipFrom({&library, 1}, 0, objects);
  }
};

// A tiny model on a device, and what the reference says of it.
struct Tiny {
  std::unique_ptr<Model> model;
  std::unique_ptr<CheckpointSource> source;
  ExecutorOptions options;
  std::vector<int> prompt, greedy;

  Tiny() {
    const std::string folder = UM_SOURCE_DIR "/tests/data/models/llama3_bf16";
    ModelOptions open;
    open.model = folder;
    model = std::move(Model::Open(open)).value();
    source = std::make_unique<CheckpointSource>(*model->checkpoint());
    options.page_tokens = 32;
    options.max_sequences = options.max_outputs = 1;
    options.max_pages = options.pages = 3;
    options.max_tokens = 64;
    std::ifstream file(folder + "/golden.json");
    const json golden = json::parse(file)["cases"][0];
    prompt = golden["prompt"].get<std::vector<int>>();
    greedy = golden["greedy"].get<std::vector<int>>();
  }
  // Logits behind the prompt and behind each of `steps` golden ids.
  Result<std::vector<std::vector<float>>> Run(Executor& executor, int steps) const {
    const std::vector<int> pages = {2, 0, 1};
    std::vector<std::vector<float>> all;
    std::vector<int> ids = prompt;
    for (int step = 0, position = 0; step <= steps; ++step) {
      const int count = static_cast<int>(ids.size());
      std::vector<int> positions(ids.size());
      const std::vector<int> sequences(ids.size(), 0), outputs = {count - 1};
      std::iota(positions.begin(), positions.end(), position);
      position += count;
      UM_RETURN_IF_ERROR(executor.Run({ids, positions, sequences, pages, outputs, positions}));
      UM_RETURN_IF_ERROR(executor.Ids().status());
      UM_ASSIGN_OR_RETURN(const auto logits, executor.Logits(0));
      all.emplace_back(logits.begin(), logits.end());
      ids = {greedy[static_cast<size_t>(step)]};
    }
    return all;
  }
};

double Difference(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  double most = 0;
  for (size_t s = 0; s < a.size(); ++s) {
    for (size_t i = 0; i < a[s].size(); ++i) {
      most = std::max(most, std::fabs(static_cast<double>(a[s][i]) - b[s][i]));
    }
  }
  return most;
}

// ---- reading code objects ----

TEST(CodeObjectTest, ReadsItsMetadata) {
  const EmulatorEntry entry = {"f", 48, 256, nullptr};
  const Bytes bytes = MakeObject(
      {{"amdhsa.target", "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-"}, {"amdhsa.kernels", {KernelOf(entry, 64)}}});
  EXPECT_EQ(ElfBytes(bytes.data()), bytes.size());
  const auto object = ReadCodeObject(bytes);
  ASSERT_TRUE(object.ok()) << object.status().text();
  EXPECT_EQ(object->target, "gfx90a");
  ASSERT_EQ(object->kernels.count("f"), 1u);
  const KernelCode& code = object->kernels.at("f");
  EXPECT_EQ(code.args_bytes, 48);
  EXPECT_EQ(code.kernarg_bytes, 304);
  EXPECT_EQ(code.max_threads, 256);
  EXPECT_EQ(code.lanes, 64);
}

TEST(CodeObjectTest, RefusesWhatIsCutOrWrong) {
  const Bytes good = MakeObject(MetadataOf(kTargets[1]));
  for (size_t bytes = 0; bytes < good.size(); bytes += bytes < 600 ? 1 : 611) {
    EXPECT_FALSE(ReadCodeObject({good.data(), bytes}).ok()) << bytes;
  }
  uint32_t random = 7;
  for (int i = 0; i < (kSlow ? 200 : 2000); ++i) {  // must not crash
    Bytes bad = good;
    for (int change = 0; change < 3; ++change) {
      random = random * 1664525u + 1013904223u;
      bad[(random >> 8) % (i % 2 == 0 ? 300 : bad.size())] = static_cast<unsigned char>(random);
    }
    (void)ReadCodeObject(bad).ok();
  }
  json kernel = KernelOf({"f", 48, 256, nullptr}, 64);
  kernel[".kernarg_segment_size"] = 40u;
  EXPECT_EQ(ReadCodeObject(MakeObject({{"amdhsa.target", "x"}, {"amdhsa.kernels", {kernel}}})).status().text(),
            "arguments of 48 bytes in a smaller segment");
  EXPECT_FALSE(ReadCodeObject(MakeObject(json::array())).ok());
  EXPECT_FALSE(ReadCodeObject(MakeObject({{"amdhsa.target", "x"}})).ok());
}

// ---- launches against the metadata ----

TEST_F(HipTest, RefusesWhatTheMetadataForbids) {
  const Target& target = kTargets[1];
  json metadata = MetadataOf(target);
  for (json& kernel : metadata["amdhsa.kernels"]) {
    if (kernel[".name"] == "add_bf16") kernel[".args"][0][".size"] = 8u;  // compiled from another struct
    if (kernel[".name"] == "act_mul_f32") kernel[".group_segment_fixed_size"] = 1024u;
  }
  const Bytes bytes = MakeObject(metadata);
  const EmbeddedCode objects[] = {Code(target.name, bytes)};
  {
    const auto device = Open(target, objects);
    ASSERT_TRUE(device.ok()) << device.status().text();
    EXPECT_EQ((*device)->limits().lanes, 64);
    const auto launch = [&](const char* name, int threads, int shared, auto args) {
      const auto kernel = (*device)->FindKernel(name);
      EXPECT_TRUE(kernel.ok()) << name;
      Launch l = Launch::Of(*kernel, args);
      l.threads = threads;
      l.shared_bytes = shared;
      const Status status = (*device)->Run(l);
      EXPECT_TRUE(status.ok() || status.kind() == ErrorKind::kNoDevice);
      return status.ok();
    };
    EXPECT_FALSE(launch("add_bf16", 64, 0, AddArgs{}));
    EXPECT_FALSE(launch("add_f32", 512, 0, AddArgs{}));
    EXPECT_FALSE(launch("add_f32", 96, 0, AddArgs{}));
    EXPECT_FALSE(launch("add_f32", 64, (64 << 10) + 1, AddArgs{}));
    EXPECT_FALSE(launch("act_mul_f32", 64, 63 << 10 | 1, ActMulArgs{}));
    EXPECT_TRUE(launch("act_mul_f32", 64, 63 << 10, ActMulArgs{}));
    EXPECT_EQ(control_->refused,
              (std::vector<std::string>{
                  fmt::format("add_bf16: {} bytes of arguments, the code takes 8", sizeof(AddArgs)),
                  "add_f32: 512 threads, the code takes 256", "add_f32: 96 threads in waves of 64",
                  "add_f32: 0 + 65537 bytes of LDS of 65536", "act_mul_f32: 1024 + 64513 bytes of LDS of 65536"}));
    EXPECT_EQ((*device)->FindKernel("no_such").status().kind(), ErrorKind::kInternal);
  }
  Bytes wrong = bytes;
  wrong[18] = 62;  // x86-64
  const EmbeddedCode host[] = {Code(target.name, wrong)};
  EXPECT_EQ(Open(target, host).status().kind(), ErrorKind::kNoDevice);
}

// ---- a model ----

// Prompt and decode steps; those from the second on replay a graph.
void AnswerThrough(StandInControl* control, Device& device, const Tiny& tiny,
                   const std::vector<std::vector<float>>& want, const char* target) {
  const int steps = static_cast<int>(want.size()) - 1;
  for (const DType act : {DType::kF32, DType::kBF16}) {
    const auto executor = MakeGraphExecutor(tiny.model->program(), *tiny.source, device, tiny.options, {.act = act});
    ASSERT_TRUE(executor.ok()) << executor.status().text();
    const int graphs = control->calls_of["cuGraphLaunch"];
    const auto got = tiny.Run(**executor, steps);
    ASSERT_TRUE(got.ok()) << got.status().text();
    const double most = Difference(*got, want);
    std::printf("%s %s: largest difference of a logit from the reference %.3g, %d graph launches\n", target,
                act == DType::kF32 ? "f32" : "bf16", most, control->calls_of["cuGraphLaunch"] - graphs);
    EXPECT_LE(most, act == DType::kF32 ? 1e-4 : 0.06);
    EXPECT_GE(control->calls_of["cuGraphLaunch"] - graphs, steps - 1);
    if (act != DType::kF32) continue;
    for (size_t s = 0; s < got->size(); ++s) {
      const auto top = std::max_element((*got)[s].begin(), (*got)[s].end()) - (*got)[s].begin();
      EXPECT_EQ(top, tiny.greedy[s]) << "step " << s;
    }
  }
}

TEST_F(HipTest, AModelAnswersThroughTheCodeObjectsOfThisBuild) {
  const Tiny tiny;
  const auto reference = MakeReferenceExecutor(tiny.model->program(), *tiny.source, tiny.options);
  ASSERT_TRUE(reference.ok());
  const auto want = tiny.Run(**reference, kSlow ? 2 : 6);
  ASSERT_TRUE(want.ok()) << want.status().text();
  int found = 0;
  for (const Target& target : kTargets) {
    const std::span<const EmbeddedCode> objects = EmbeddedCodeObjects();
    const auto object = std::find_if(objects.begin(), objects.end(),
                                     [&](const EmbeddedCode& o) { return std::string_view(o.target) == target.name; });
    if (object == objects.end()) continue;
    ++found;
    const auto code = ReadCodeObject({object->begin, object->end});
    ASSERT_TRUE(code.ok()) << target.name << ": " << code.status().text();
    EXPECT_EQ(code->target, target.name);
    for (const EmulatorEntry& entry : target.entries()) {  // the object was made from this source
      const auto kernel = code->kernels.find(entry.name);
      if (kernel == code->kernels.end()) continue;  // of the stream kernel, which AMD GPUs do not have
      EXPECT_EQ(kernel->second.args_bytes, entry.args_bytes) << entry.name;
      EXPECT_EQ(kernel->second.max_threads, entry.max_threads) << entry.name;
    }
    const auto device = Open(target, objects);
    ASSERT_TRUE(device.ok()) << target.name << ": " << device.status().text();
    EXPECT_EQ((*device)->limits().target, target.name);
    AnswerThrough(control_, **device, tiny, *want, target.name);
    EXPECT_EQ(control_->refused, std::vector<std::string>());
  }
  if (found == 0) GTEST_SKIP() << "this build has no code objects for AMD GPUs (no clang-22)";
}

// The same without any compiler for AMD GPUs: the metadata of a code object suffices.
TEST_F(HipTest, AModelAnswersThroughMetadataAlone) {
  const Tiny tiny;
  const auto reference = MakeReferenceExecutor(tiny.model->program(), *tiny.source, tiny.options);
  const auto want = tiny.Run(**reference, 2);
  ASSERT_TRUE(want.ok());
  for (const Target& target : kTargets) {
    const Bytes bytes = MakeObject(MetadataOf(target));
    const EmbeddedCode objects[] = {Code(target.name, bytes)};
    const auto device = Open(target, objects);
    ASSERT_TRUE(device.ok()) << device.status().text();
    EXPECT_EQ((*device)->limits().lanes, target.lanes);
    AnswerThrough(control_, **device, tiny, *want, target.name);
    EXPECT_EQ(control_->refused, std::vector<std::string>());
  }
}

// The kernel table with the fragments of each matrix instruction: weights packed for it, read and multiplied by it.
TEST_F(HipTest, TheKernelTableOnEachMatrixInstruction) {
  int skip = 0;  // each target takes every third case, all three together all of them
  for (const Target& target : {kTargets[2], kTargets[3], kTargets[5]}) {
    int number = skip++;
    const Bytes bytes = MakeObject(MetadataOf(target));
    const EmbeddedCode objects[] = {Code(target.name, bytes)};
    const auto device = Open(target, objects);
    ASSERT_TRUE(device.ok()) << device.status().text();
    int checked = 0;
    for (const Row& row : GpuRows()) {
      if (!HasKernel(row, (*device)->limits())) continue;
      for (const Case& c : row.cases) {
        if (!RowTakes(row, c, (*device)->limits())) continue;
        if (number++ % (kSlow ? 60 : 3) != 0) continue;
        const auto result = CheckRow(**device, row, c, 7, 0);
        ASSERT_TRUE(result.ok()) << row.kernel << " " << CaseName(row, c) << ": " << result.status().text();
        EXPECT_LE(result->error, row.tolerance) << target.name << " " << row.kernel << " " << CaseName(row, c);
        ++checked;
      }
    }
    std::printf("%s: %d cases of the kernel table\n", target.name, checked);
    EXPECT_GT(checked, kSlow ? 5 : 120);
  }
}

// A library without what may be absent is as good; one without what is needed is refused by the function's name.
TEST_F(HipTest, SurvivesAbsentFunctions) {
  const Bytes bytes = MakeObject(MetadataOf(kTargets[1]));
  const EmbeddedCode objects[] = {Code("gfx942", bytes)};
  const std::string needed = UM_BINARY_DIR "/libneeded_stand_in.so", lacking = UM_BINARY_DIR "/liblacking_stand_in.so";
  void* library = dlopen(needed.c_str(), RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  StandInControl* control = reinterpret_cast<StandInControl* (*)()>(dlsym(library, "StandInGet"))();
  control->runs = "gfx942";
  control->minor = 4;
  {
    const auto device = OpenHipFrom({&needed, 1}, 0, objects);
    ASSERT_TRUE(device.ok()) << device.status().text();
    EXPECT_EQ((*device)->limits().target, "gfx942");
    EXPECT_TRUE((*device)->Synchronize().ok());
  }
  dlclose(library);
  EXPECT_EQ(OpenHipFrom({&lacking, 1}, 0, objects).status().text(),
            "the AMD driver's library lacks hipGraphLaunch; unimax needs ROCm 5.3 or newer");
}

// Each call of a run fails once: the error is told, nothing hangs, crashes or stays behind.
TEST_F(HipTest, EachCallMayFailInTurn) {
  const Tiny tiny;
  const Bytes bytes = MakeObject(MetadataOf(kTargets[1]));
  const EmbeddedCode objects[] = {Code("gfx942", bytes)};
  const auto run = [&]() -> Status {
    UM_ASSIGN_OR_RETURN(const auto device, Open(kTargets[1], objects));
    UM_ASSIGN_OR_RETURN(const auto executor, MakeGraphExecutor(tiny.model->program(), *tiny.source, *device,
                                                               tiny.options, {.act = DType::kBF16}));
    return tiny.Run(*executor, 2).status();
  };
  std::map<std::string, int> told;
  int n = 1, failures = 0;
  for (;; n += kSlow ? 37 : 1) {
    ASSERT_LT(n, 20'000);
    bool said = false;
    const std::string failed = RunFailing(n, n % 3 == 0 ? 700 : 999, n % 2 == 0, run, &said);
    if (failed.empty()) break;
    ++failures;
    if (said) ++told[failed];
  }
  std::string names;
  for (const auto& [name, count] : told) names += fmt::format(" {} x{}", name, count);
  std::printf("%d calls made to fail; told:%s\n", failures, names.c_str());
  EXPECT_GT(told["cuLaunchKernel"], kSlow ? 0 : 20);
  EXPECT_GT(told.size(), kSlow ? 3u : 15u);
}

}  // namespace
}  // namespace unimax
