// SPDX-License-Identifier: Apache-2.0
// The engine over a device that is short of memory, counts what is asked of it, fails, or falls silent. Prints rows of
// the reliability table.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>
#include <map>
#include <new>

#include "base/clock.h"
#include "base/log.h"
#include "device/emulator.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/test_alone.h"
#include "engine/watchdog.h"
#include "exec/graph.h"
#include "exec/reference.h"
#include "exec/team.h"
#include "models/checkpoint_source.h"
#include "models/config.h"
#include "models/registry.h"
#include "sim/sim_device.h"
#include "sim/sim_executor.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Counts what the step loop takes from the heap. (The form with an alignment is another function, and is not replaced.)
void* operator new(std::size_t bytes) {
  ++allocations;
  return ::operator new (bytes, std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__});
}
void operator delete(void* p) noexcept { ::operator delete (p, std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__}); }
void operator delete(void* p, std::size_t) noexcept {
  ::operator delete (p, std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__});
}

namespace unimax {
namespace {

using sim::SimDevice;
using sim::SimExecutor;

class Quiet : public EventSink {
 public:
  bool OnToken(const TokenEvent&) override { return ++tokens < 0; }
  void OnEnd(const EndEvent& event) override {
    reason = event.reason;
    ++ends;  // last: the test's thread waits for it
  }
  int tokens = 0;
  std::atomic<int> ends{0};
  EndReason reason = EndReason::kStop;
};

Request RequestOf(int i, int length, int max_new, int vocab, EventSink& sink) {
  Request r;
  r.id = static_cast<uint64_t>(i) + 1;
  for (int t = 0; t < length; ++t) r.prompt.push_back((3 + i * 13 + t * 7) % vocab);
  r.max_new = max_new;
  r.sampling.temperature = 0;
  r.ignore_end = true;
  r.sink = &sink;
  return r;
}

// Allows every third id.
class Thirds : public MaskProvider {
 public:
  void Fill(std::span<uint64_t> allowed) override { std::ranges::fill(allowed, 0x9249249249249249); }
  void Accept(int) override {}
};

// What each request of a full batch wants: log-probabilities, masks, penalties, all at once.
void MakeDemanding(Request& r, int i) {
  r.sampling.temperature = 0.8;
  r.sampling.top_k = 40;
  r.sampling.top_p = 0.9;
  r.sampling.frequency_penalty = 0.1;
  r.sampling.repetition_penalty = 1.1;
  r.sampling.raw_logprobs = r.sampling.processed_logprobs = true;
  r.sampling.top_logprobs = 20;
  if (i % 2 == 0) r.mask = std::make_unique<Thirds>();
}

// Steps in which nobody comes or goes, after some that warm up.
int64_t AllocationsOfSteps(EngineLoop& loop, int steps, int64_t* device_allocations, const int* device_count) {
  Time now = 1000;
  for (int i = 0; i < 24; ++i) EXPECT_TRUE(loop.Step(++now).ok());
  const int64_t before = allocations;
  const int device_before = device_count != nullptr ? *device_count : 0;
  for (int i = 0; i < steps; ++i) EXPECT_TRUE(loop.Step(++now).ok());
  if (device_allocations != nullptr) *device_allocations = *device_count - device_before;
  return allocations - before;
}

// A model of tests/data with a graph executor on a device of the test's own.
struct OnDevice {
  explicit OnDevice(const std::string& name) {
    SetLogLevel(LogLevel::kWarning);
    auto opened = Checkpoint::Open(UM_SOURCE_DIR "/tests/data/models/" + name);
    EXPECT_TRUE(opened.ok());
    checkpoint = std::make_unique<Checkpoint>(std::move(opened).value());
    auto config = ReadConfig(*checkpoint);
    EXPECT_TRUE(config.ok());
    source = std::make_unique<CheckpointSource>(*checkpoint);
    auto built = BuildProgram(*config);
    EXPECT_TRUE(built.ok());
    program = std::move(built).value();
    emulator = std::move(OpenEmulator({})).value();
    limits.max_tokens = 32;
    limits.max_sequences = limits.max_outputs = 4;
    limits.page_tokens = 32;
    limits.max_pages = 4;
    limits.pages = 16;
  }
  Result<std::unique_ptr<Executor>> Make(Device& device) {
    return MakeGraphExecutor(program, *source, device, limits, {.act = DType::kBF16});
  }
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<CheckpointSource> source;
  Program program;
  std::unique_ptr<Device> emulator;
  ExecutorOptions limits;
};

TEST(Reliability, E03TheStepLoopAllocatesNothing) {
  // 64 sequences over the simulated executor.
  constexpr int kVocab = 1000;
  ExecutorOptions limits;
  limits.max_sequences = limits.max_outputs = limits.max_tokens = 64;
  limits.page_tokens = 16;
  limits.max_pages = 16;
  limits.pages = 64 * 16;
  SimExecutor executor(limits, kVocab);
  const Program program = sim::SimProgram(kVocab);
  const auto hasher = MakeSha256Hasher();
  auto loop = EngineLoop::Make(executor, limits, SchedulerOptionsFor(limits), program, *hasher);
  ASSERT_TRUE(loop.ok());
  std::deque<Quiet> sinks(64);
  for (int i = 0; i < 64; ++i) {
    Request r = RequestOf(i, 20, 200, kVocab, sinks[static_cast<size_t>(i)]);
    if (i % 3 != 0) MakeDemanding(r, i);
    ASSERT_TRUE((*loop)->Submit(std::move(r), i + 1).ok());
  }
  // Past page borders, so that pages are published and taken, too.
  const int64_t of_loop = AllocationsOfSteps(**loop, 100, nullptr, nullptr);

  // A real program on a device: nothing on the device either, once the executor is made.
  OnDevice real("llama3_bf16");
  SimDevice device(*real.emulator, int64_t{1} << 30);
  auto graph = real.Make(device);
  ASSERT_TRUE(graph.ok()) << graph.status().text();
  auto on_device = EngineLoop::Make(**graph, real.limits, SchedulerOptionsFor(real.limits), real.program, *hasher);
  ASSERT_TRUE(on_device.ok());
  std::deque<Quiet> few(4);
  const int ready = device.allocations;
  for (int i = 0; i < 4; ++i) {
    Request r = RequestOf(i, 10, 60, real.program.vocab, few[static_cast<size_t>(i)]);
    if (i % 2 != 0) MakeDemanding(r, i);
    if (i == 2)
      r.sampling.temperature = 0.7, r.sampling.top_p = 0.9, r.sampling.repetition_penalty = 1.1;  // drawn there
    ASSERT_TRUE((*on_device)->Submit(std::move(r), i + 1).ok());
  }
  for (Time now = 10; !(*on_device)->idle(); ++now) ASSERT_TRUE((*on_device)->Step(now).ok());
  const int after_ready = device.allocations - ready;
  const bool pass = of_loop == 0 && after_ready == 0;
  std::printf("E03 allocs_after_ready=%d heap_allocs_of_100_steps=%lld sequences=64 %s\n", after_ready,
              static_cast<long long>(of_loop), pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

TEST(Reliability, E07TooLittleMemoryIsSaidAtTheStart) {
  OnDevice model("llama3_bf16");
  SimDevice ample(*model.emulator, int64_t{1} << 30);
  int64_t need = 0;
  {
    auto made = model.Make(ample);
    ASSERT_TRUE(made.ok());
    const MemoryUse use = (*made)->memory();
    need = static_cast<int64_t>(use.weights + use.kv + use.workspace);
  }
  const int allocated = ample.allocations;
  int started = 0, refused = 0, out_of_memory_later = 0, without_bytes = 0;
  const auto try_one = [&](SimDevice& device) {
    auto made = model.Make(device);
    if (!made.ok()) {
      ++refused;
      const std::string text(made.status().text());
      const bool says = made.status().kind() == ErrorKind::kNoDevice && text.find("free") != std::string::npos &&
                        text.find_first_of("0123456789") != std::string::npos;
      without_bytes += !says;
      return;
    }
    ++started;
    // The largest step there is.
    std::vector<int> ids(32, 5), positions(32), rows(32, 0), pages(16), outputs = {28, 29, 30, 31};
    for (int i = 0; i < 32; ++i) positions[static_cast<size_t>(i)] = i + 90;
    for (int i = 0; i < 16; ++i) pages[static_cast<size_t>(i)] = i;
    out_of_memory_later += !(*made)->Run({ids, positions, rows, pages, outputs}).ok() || !(*made)->Logits(3).ok();
  };
  for (int i = 0; i <= 64; ++i) {
    SimDevice device(*model.emulator, need * 2 * i / 64);
    try_one(device);
  }
  const int by_size = started;
  for (int n = 0; n < allocated; ++n) {
    SimDevice device(*model.emulator, int64_t{1} << 30);
    device.fail_allocation = n;
    try_one(device);
  }
  const bool pass = out_of_memory_later == 0 && without_bytes == 0 && by_size > 16 && started == by_size;
  std::printf("E07 started_then_oom=%d bytes_in_error=%d%% started=%d refused=%d failed_allocations=%d %s\n",
              out_of_memory_later, 100 * (refused - without_bytes) / std::max(refused, 1), by_size, refused, allocated,
              pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

// Decodes beside a part of a prompt: the rows that are alone in their sequences go another way through attention.
TEST(MixedSteps, EqualTheReference) {
  OnDevice model("llama3_bf16");
  auto graph = model.Make(*model.emulator);
  auto reference = MakeReferenceExecutor(model.program, *model.source, model.limits);
  ASSERT_TRUE(graph.ok() && reference.ok());
  const std::vector<int> pages = {3, 0, 0, 0, 1, 0, 0, 0, 7, 5, 0, 0, 2, 0, 0, 0};
  const auto step = [&](std::initializer_list<std::array<int, 3>> parts) {  // sequence, first position, tokens
    std::vector<int> ids, positions, sequences, outputs;
    for (const auto& [sequence, first, count] : parts) {
      for (int i = 0; i < count; ++i) {
        ids.push_back((5 + sequence * 31 + (first + i) * 17) % model.program.vocab);
        positions.push_back(first + i);
        sequences.push_back(sequence);
      }
      outputs.push_back(static_cast<int>(ids.size()) - 1);
    }
    double difference = 0, norm = 0;
    EXPECT_TRUE((*graph)->Run({ids, positions, sequences, pages, outputs}).ok());
    EXPECT_TRUE((*reference)->Run({ids, positions, sequences, pages, outputs}).ok());
    for (int o = 0; o < std::ssize(outputs); ++o) {
      const auto got = (*graph)->Logits(o), want = (*reference)->Logits(o);
      ASSERT_TRUE(got.ok() && want.ok());
      for (size_t i = 0; i < want->size(); ++i) {
        difference += std::pow((*got)[i] - (*want)[i], 2);
        norm += std::pow((*want)[i], 2);
      }
    }
    std::printf("mixed step of %zu rows: relative error %.1e, norm %.1f\n", ids.size(), std::sqrt(difference / norm),
                std::sqrt(norm));
    EXPECT_LT(std::sqrt(difference / norm), 2e-2);
  };
  step({{0, 0, 9}, {1, 0, 20}});
  step({{0, 9, 1}, {1, 20, 1}, {2, 0, 25}});               // two decodes, then the first part of a prompt
  step({{0, 10, 1}, {1, 21, 1}, {2, 25, 12}, {3, 0, 1}});  // a row alone behind it
  step({{2, 37, 1}, {3, 1, 3}, {0, 11, 1}});
  step({{0, 12, 1}, {1, 22, 1}, {2, 38, 1}, {3, 4, 1}});
  const auto takes = [&](int tokens, int decodes, const char* kernel) {
    return (*graph)->PlanText(tokens, decodes, 64).find(kernel) != std::string::npos;
  };
  EXPECT_TRUE(takes(27, 2, "attention_rows") && (takes(27, 2, "attention_split") || takes(27, 2, "attention_decode")));
  EXPECT_FALSE(takes(4, 4, "attention_rows"));
  EXPECT_FALSE(takes(27, 0, "attention_split") || takes(27, 0, "attention_decode"));
}

// Steps that are launched before the ones before them are read give the same ids as steps that wait.
TEST(Ahead, GivesTheSameIds) {
  OnDevice model("llama3_bf16");
  std::map<bool, std::vector<std::vector<int>>> answers;
  for (const bool ahead : {false, true}) {
    auto executor = MakeGraphExecutor(model.program, *model.source, *model.emulator, model.limits,
                                      {.act = DType::kBF16, .ahead = ahead, .deterministic = true});
    ASSERT_TRUE(executor.ok());
    EXPECT_EQ((*executor)->runs_ahead(), ahead);
    EngineOptions options;
    options.scheduler = SchedulerOptionsFor(model.limits);
    auto engine = Engine::Start(**executor, model.limits, model.program, options);
    ASSERT_TRUE(engine.ok());
    std::deque<Answer> sinks;
    for (int i = 0; i < 6; ++i) {
      sinks.emplace_back(nullptr, std::vector<std::string>{}, nullptr);
      Request r = RequestOf(i, 20 + i, 12 + i, model.program.vocab, sinks.back());
      if (i == 2) r.sampling.temperature = 1, r.sampling.frequency_penalty = 0.5;  // drawn on the device
      if (i == 4) r.sampling.temperature = 1, r.sampling.typical_p = 0.9;          // drawn on the host
      ASSERT_TRUE((*engine)->Submit(std::move(r)).ok());
    }
    (*engine)->Drain();
    for (const Answer& sink : sinks) answers[ahead].push_back(sink.ids());
  }
  EXPECT_EQ(answers[true], answers[false]);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(std::ssize(answers[true][static_cast<size_t>(i)]), 12 + i);
}

// The n-th transfer or launch of the device fails; with the graph executor between it and the engine.
TEST(Reliability, E01AFaultOfTheDevice) {
  OnDevice model("llama3_bf16");
  int points = 0, wrong = 0;
  std::vector<int> clean;
  for (int call = -1; call < 60; call += call < 0 ? 1 : 7) {
    SimDevice device(*model.emulator, int64_t{1} << 30);
    auto executor = model.Make(device);
    ASSERT_TRUE(executor.ok());
    if (call >= 0) device.fail_call = device.calls + call;
    EngineOptions options;
    options.scheduler = SchedulerOptionsFor(model.limits);
    std::deque<Quiet> sinks(2);
    auto engine = Engine::Start(**executor, model.limits, model.program, options);
    ASSERT_TRUE(engine.ok());
    for (int i = 0; i < 2; ++i) {
      const auto id = (*engine)->Submit(RequestOf(i, 10, 4, model.program.vocab, sinks[static_cast<size_t>(i)]));
      if (!id.ok()) ++sinks[static_cast<size_t>(i)].ends;
    }
    while (sinks[0].ends == 0 || sinks[1].ends == 0) std::this_thread::yield();
    if (call < 0) {
      EXPECT_EQ(sinks[0].tokens + sinks[1].tokens, 8);
      continue;
    }
    (*engine)->Drain();
    if (device.calls <= device.fail_call) break;  // it got to its end without that many
    ++points;
    wrong += sinks[0].reason != EndReason::kFailed && sinks[0].reason != EndReason::kLength && sinks[0].tokens > 0;
    while ((*engine)->state().failure.ok()) std::this_thread::yield();
    wrong += (*engine)->Submit(RequestOf(5, 4, 1, model.program.vocab, sinks[0])).ok();
  }
  std::printf("device_faults points=%d wrong=%d\n", points, wrong);
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(points, 4);
}

// Every number of a step and every id of a request, set to what lies next to its range and far from it.
TEST(Reliability, E02NothingLeavesItsBuffer) {
  OnDevice model("llama3_bf16");
  const int vocab = model.program.vocab, far = std::numeric_limits<int>::max();
  int oob = 0, refused = 0, ran = 0;
  std::vector<std::unique_ptr<Executor>> executors;
  executors.push_back(std::move(model.Make(*model.emulator)).value());
  executors.push_back(std::move(MakeTeamExecutor(model.program, *model.source, model.limits, {})).value());
  for (const auto& executor : executors) {
    struct Numbers {
      std::vector<int> ids = {5, 6, 7}, positions = {0, 1, 40}, sequences = {0, 0, 1},
                       pages = {3, -1, -1, -1, 5, 6, -1, -1}, outputs = {1, 2}, rope_rows = {0, 1, 40};
    };
    struct Field {
      std::vector<int> Numbers::*of;
      int end;  // the first number beyond its range
    };
    const Field fields[] = {{&Numbers::ids, vocab}, {&Numbers::positions, 128}, {&Numbers::sequences, 2},
                            {&Numbers::pages, 16},  {&Numbers::outputs, 3},     {&Numbers::rope_rows, 128}};
    const auto run = [&](const Numbers& n) {
      return executor->Run({n.ids, n.positions, n.sequences, n.pages, n.outputs, n.rope_rows}).ok();
    };
    ASSERT_TRUE(run({}));
    for (const Field& field : fields) {
      for (size_t at = 0; at < (Numbers{}.*field.of).size(); ++at) {
        const bool unused = field.of == &Numbers::pages && (Numbers{}.*field.of)[at] < 0;
        for (const int value : {-3, std::numeric_limits<int>::min(), field.end, far}) {  // -1 and -2 name outputs
          Numbers n;
          (n.*field.of)[at] = value;
          if (run(n)) {
            oob += !unused;  // a page that no row reaches is not looked at
            ++ran;
          } else {
            ++refused;
          }
        }
      }
    }
    EXPECT_TRUE(run({}));
  }

  // Ids of requests; those in the vocabulary run, one after the other, and end well.
  const auto hasher = MakeSha256Hasher();
  auto loop = EngineLoop::Make(*executors[0], model.limits, SchedulerOptionsFor(model.limits), model.program, *hasher);
  ASSERT_TRUE(loop.ok());
  Time now = 0;
  for (int field = 0; field < 4; ++field) {
    for (const int id : {-1, 0, vocab - 1, vocab, far}) {
      Quiet sink;
      Request r = RequestOf(field, 4, 3, vocab, sink);
      if (field == 0) r.prompt[2] = id;
      if (field == 1) r.sampling.bias = {{id, 1.5}};
      if (field == 2) r.sampling.end_ids = {id}, r.sampling.min_new = 2;
      if (field == 3) r.sampling.bad_words = {{1, id}};
      const bool inside = id >= 0 && id < vocab;
      const bool taken = (*loop)->Submit(std::move(r), ++now).ok();
      oob += taken != inside;
      refused += !taken;
      ran += taken;
      while (!(*loop)->idle()) ASSERT_TRUE((*loop)->Step(++now).ok());
      EXPECT_EQ(sink.ends, taken ? 1 : 0);
    }
  }
  const bool pass = oob == 0 && refused > 100;
  std::printf("E02 oob=%d refused=%d ran=%d executors=%zu %s\n", oob, refused, ran, executors.size(),
              pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

ExecutorOptions SimLimits() {
  ExecutorOptions limits;
  limits.max_sequences = limits.max_outputs = 4;
  limits.max_tokens = 64;
  limits.page_tokens = 16;
  limits.max_pages = 8;
  limits.pages = 32;
  return limits;
}

TEST(Reliability, E04ASilentDeviceIsFound) {
  constexpr int kVocab = 100, kHangs = 8;
  const ExecutorOptions limits = SimLimits();
  const Program program = sim::SimProgram(kVocab);
  EngineOptions options;
  options.scheduler = SchedulerOptionsFor(limits);
  struct Hang {
    std::unique_ptr<SimExecutor> executor;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Watchdog> watchdog;
    Quiet sink;
    Time began = 0;
    std::atomic<int64_t> found{0};
  };
  std::deque<Hang> hangs(kHangs + 1);
  for (int n = 0; n <= kHangs; ++n) {  // the last one does not hang
    Hang& h = hangs[static_cast<size_t>(n)];
    h.executor = std::make_unique<SimExecutor>(limits, kVocab);
    if (n < kHangs) h.executor->script.hang_run = n * 5;
    h.executor->script.cost = std::chrono::milliseconds(n == kHangs ? 60 : 0);
    h.engine = std::move(Engine::Start(*h.executor, limits, program, options)).value();
    h.watchdog =
        std::make_unique<Watchdog>(*h.engine, std::chrono::seconds(2), [&h](double) { h.found = NowMicroseconds(); });
    h.began = NowMicroseconds();
    ASSERT_TRUE(h.engine->Submit(RequestOf(n, 10, 50, kVocab, h.sink)).ok());
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(3200));
  int missed = 0;
  double slowest = 0;
  for (int n = 0; n < kHangs; ++n) {
    const Hang& h = hangs[static_cast<size_t>(n)];
    missed += h.found == 0;
    slowest = std::max(slowest, static_cast<double>(h.found - h.began) * 1e-3);
  }
  const int false_alarms = hangs[kHangs].found != 0;
  for (Hang& h : hangs) h.executor->Release();

  // And what a command does then.
  int status = 0;
  const auto silent = [&] {
    SimExecutor executor(limits, kVocab);
    executor.script.hang_run = 3;
    Quiet sink;
    const auto engine = std::move(Engine::Start(executor, limits, program, options)).value();
    const Watchdog watchdog(*engine, std::chrono::milliseconds(200), &ExitOnSilence);
    (void)engine->Submit(RequestOf(0, 10, 50, kVocab, sink));
    std::this_thread::sleep_for(std::chrono::seconds(20));
    std::exit(1);
  };
  const auto is_70 = [&](int ended) {
    status = WEXITSTATUS(ended);
    return WIFEXITED(ended) && status == 70;
  };
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(silent(), is_70, "has not answered");
  const bool pass = missed == 0 && slowest <= 3000 && false_alarms == 0;
  std::printf("E04 detect_ms=%.0f exit=70 missed=%d hangs=%d false_alarms=%d %s\n", slowest, missed, kHangs,
              false_alarms, pass ? "PASS" : "FAIL");
  EXPECT_TRUE(pass);
}

}  // namespace
}  // namespace unimax
