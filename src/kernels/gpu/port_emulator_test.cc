// SPDX-License-Identifier: Apache-2.0
// Built once a lane width. Bodies of its own: small kernels that are right, and kernels with one planted fault each.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "base/layout.h"
#include "device/emulator_entry.h"
#include "kernels/gpu/port.h"

namespace unimax::UM_PORT_NAMESPACE {
namespace {

struct TestArgs {
  const void* x;
  const void* w;
  float* y;
  int* counter;
  int n;
};

// Sums n floats: each block its part, the block that ends last all parts, in the order of the blocks.
void SumAll(const TestArgs& a) {
  Shared<float> sums(0);
  Shared<int> last(1024);
  float v = 0;
  const float* x = static_cast<const float*>(a.x);
  for (int i = BlockX() * BlockThreads() + Thread(); i < a.n; i += GridX() * BlockThreads()) v += x[i];
  v = GroupSum(v);
  if (Lane() == 0) sums.Set(Group(), v);
  Barrier();
  if (Thread() == 0) {
    float total = 0;
    for (int g = 0; g < Groups(); ++g) total += sums.Get(g);
    a.y[1 + BlockX()] = total;
    last.Set(0, AtomicAdd(a.counter, 1) == GridX() - 1);
  }
  Barrier();
  if (last.Get(0) == 0 || Thread() != 0) return;
  a.y[0] = 0;
  for (int b = 0; b < GridX(); ++b) a.y[0] += a.y[1 + b];
  *a.counter = 0;
}

// Neighbours exchange values through shared memory; n says what is missing.
void Exchange(const TestArgs& a) {
  Shared<bf16> cells(0);
  const int next = (Thread() + 1) % BlockThreads();
  cells.Set(next, FromFloat<bf16>(0));
  Barrier();
  cells.Set(Thread(), FromFloat<bf16>(static_cast<float>(Thread())));
  if (a.n != 1) Barrier();
  const float v = ToFloat(cells.Get(next));
  if (a.n != 2) Barrier();
  cells.Set(Thread(), FromFloat<bf16>(v));
  a.y[Thread()] = v;
}

// The same inside a group; n = 1: without a GroupSync, n = 2: a GroupSync where the neighbour is of another group.
void ExchangeInGroup(const TestArgs& a) {
  Shared<float> cells(0);
  cells.Set(Thread(), static_cast<float>(Thread()));
  if (a.n != 1) GroupSync();
  const int next = a.n == 2 ? (Thread() + kLanes) % BlockThreads() : Group() * kLanes + (Lane() + 1) % kLanes;
  a.y[Thread()] = cells.Get(next);
}

void Diverge(const TestArgs& a) {
  if (a.n == 1 && Thread() == 5) return;
  if (a.n == 2 && Lane() == 7) return;
  if (a.n == 3 && Lane() == 3) {
    GroupSync();
    return;
  }
  if (a.n == 1) Barrier();
  if (a.n == 4 && Group() == 1) Barrier();
  if (a.n >= 2) a.y[Thread()] = GroupSum(1.0f);
}

void Misuse(const TestArgs& a) {
  Shared<float> cells(16);
  switch (a.n) {
    case 1:
      cells.Set(BlockThreads() + Thread(), 1.0f);
      break;
    case 2:
      cells.Set(-5, 1.0f);
      break;
    case 3:
      a.y[0] = cells.Get16(1).As<float>(0);
      break;
    case 4:
      a.y[0] = Load16(static_cast<const char*>(a.x) + 4).As<float>(0);
      break;
    case 5:
      a.y[0] = Load16Once(static_cast<const char*>(a.x) + 1024).As<float>(0);
      break;
    case 6:
      Store16(a.y + a.n * 1024, Vec16());
      break;
    case 7:
      a.y[0] = cells.Get(0);
      break;
    default:
      a.y[0] = Shuffle(1.0f, kLanes);
      break;
  }
}

template <class T>
void Product(const TestArgs& a) {
  FragC c = {};
  for (int i = 0; i < kFragC; ++i) c.v[i] = 0.5f;
  const T* x = static_cast<const T*>(a.x);
  Shared<T> staged(0);
  const int pitch = 2 * kTileK + 8;
  for (int i = Lane(); i < kTileCols * 2 * kTileK; i += kLanes) {
    const int col = i / (2 * kTileK), k = i % (2 * kTileK);
    staged.Set(col * pitch + k, col < a.n ? x[col * 2 * kTileK + k] : FromFloat<T>(0));
  }
  GroupSync();
  Mma<T>(c, LoadTile<T>(a.w), LoadX<T>(x, 2 * kTileK, a.n, kTileK));
  Mma<T>(c, LoadTile<T>(static_cast<const char*>(a.w) + kTileBytes), LoadXShared<T>(staged, kTileK, pitch));
  for (int i = 0; i < kFragC; ++i) a.y[CRow(i) * kTileCols + CCol(i)] = c.v[i];
}

// The same of int8: two tiles of 64 k, of which x has 2 * kTileK pairs a column.
void ProductInt8(const TestArgs& a) {
  FragI c;
  for (int i = 0; i < kFragC; ++i) c.v[i] = -7;
  const i8x2* x = static_cast<const i8x2*>(a.x);
  Mma(c, LoadTile<i8x2>(a.w), LoadX<i8x2>(x, 2 * kTileK, a.n, kTileK));
  const char* second = static_cast<const char*>(a.w) + kTileBytes;
  Mma(c, LoadTile<i8x2>(second), LoadX<i8x2>(x + kTileK, 2 * kTileK, a.n, kTileK));
  for (int i = 0; i < kFragC; ++i) a.y[CRow(i) * kTileCols + CCol(i)] = std::bit_cast<float>(c.v[i]);
}

// GroupSum and GroupMax beside the butterfly written out.
void Reduce(const TestArgs& a) {
  const float v = static_cast<const float*>(a.x)[Lane()];
  float sum = v, high = v;
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    sum += ShuffleXor(sum, mask);
    high = Max(high, ShuffleXor(high, mask));
  }
  const bool equal = std::bit_cast<int>(sum) == std::bit_cast<int>(GroupSum(v)) && high == GroupMax(v) &&
                     GroupSum(Lane()) == kLanes * (kLanes - 1) / 2 && Shuffle(Lane(), 5) == 5;
  a.y[Lane()] = equal ? sum : NAN;
}

// All threads add to three cells; n says which barrier is missing.
void Count(const TestArgs& a) {
  Shared<uint64_t> cells(0);
  if (Thread() < 3) cells.Set(Thread(), 0);
  if (a.n != 1) Barrier();
  cells.Add(Thread() % 3, (uint64_t{1} << 40) + 1);
  if (a.n != 2) Barrier();
  a.y[Thread()] = cells.Get(0) == cells.Get(1) ? static_cast<float>(cells.Get(2) >> 40) : NAN;
}

template <void (*kBody)(const TestArgs&)>
constexpr EmulatorEntry Row(const char* name) {
  return {name, sizeof(TestArgs), 1024, [](const void* args) { kBody(*static_cast<const TestArgs*>(args)); }};
}
constexpr EmulatorEntry kRows[] = {
    Row<SumAll>("sum_all"),           Row<Exchange>("exchange"), Row<ExchangeInGroup>("exchange_in_group"),
    Row<Diverge>("diverge"),          Row<Misuse>("misuse"),     Row<Product<bf16>>("product_bf16"),
    Row<Product<f16>>("product_f16"), Row<Reduce>("reduce"),     Row<Count>("count"),
    Row<ProductInt8>("product_int8")};

std::unique_ptr<Device> Open(uint64_t seed, bool check_races) {
  auto device = OpenEmulatorWith({.lanes = kLanes, .seed = seed, .check_races = check_races}, kRows);
  EXPECT_TRUE(device.ok());
  return std::move(device).value();
}

Buffer Upload(Device& device, const void* data, size_t bytes) {
  Buffer buffer = std::move(device.Allocate(bytes, "test")).value();
  EXPECT_TRUE(device.Upload(buffer.data(), data, bytes).ok());
  return buffer;
}

std::vector<float> Download(Device& device, const Buffer& buffer) {
  std::vector<float> out(buffer.bytes() / sizeof(float));
  EXPECT_TRUE(device.Download(out.data(), buffer.data(), buffer.bytes()).ok());
  return out;
}

// One device with the buffers a test kernel needs.
struct Bench {
  std::unique_ptr<Device> device;
  Buffer x, w, y, counter;

  explicit Bench(uint64_t seed = 0, bool check_races = true) : device(Open(seed, check_races)) {
    std::vector<float> values(4096);
    for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 1000.0f;
    x = Upload(*device, values.data(), values.size() * sizeof(float));
    y = std::move(device->Allocate(1024 * sizeof(float), "y")).value();
    counter = std::move(device->Allocate(sizeof(int), "counter")).value();
    EXPECT_TRUE(device->Fill(counter.data(), 0, sizeof(int)).ok());
  }
  Launch Prepare(const char* kernel, int n, int grid, int threads, int shared_bytes) {
    const TestArgs args = {x.data(), w.data(), reinterpret_cast<float*>(y.data()),
                           reinterpret_cast<int*>(counter.data()), n};
    auto found = device->FindKernel(kernel);
    EXPECT_TRUE(found.ok());
    Launch launch = Launch::Of(*found, args);
    launch.grid_x = grid;
    launch.threads = threads;
    launch.shared_bytes = shared_bytes;
    return launch;
  }
  Status Run(const char* kernel, int n, int grid, int threads, int shared_bytes) {
    return device->Run(Prepare(kernel, n, grid, threads, shared_bytes));
  }
  // The text of the fault; and the device must work afterwards.
  std::string Fault(const char* kernel, int n, int threads, int shared_bytes) {
    const Status status = Run(kernel, n, 2, threads, shared_bytes);
    EXPECT_EQ(status.kind(), ErrorKind::kInternal);
    const Status after = Run("reduce", 0, 1, kLanes, 0);
    EXPECT_TRUE(after.ok()) << after.text();
    return std::string(status.text());
  }
};

TEST(Emulator, ResultsDoNotDependOnOrder) {
  std::vector<float> first;
  for (uint64_t seed = 0; seed <= 20; ++seed) {
    Bench bench(seed);
    ASSERT_TRUE(bench.device->Fill(bench.y.data(), 0, bench.y.bytes()).ok());
    for (int again = 0; again < 2; ++again) {
      const Status status = bench.Run("sum_all", 4096, 7, 256, 2048);
      ASSERT_TRUE(status.ok()) << status.text();
    }
    const std::vector<float> sums = Download(*bench.device, bench.y);
    if (seed == 0) first = sums;
    EXPECT_EQ(sums, first) << "seed " << seed;
  }
}

TEST(Emulator, FindsRaces) {
  for (uint64_t seed : {0, 1, 2, 3}) {
    Bench bench(seed);
    for (int threads : {kLanes, 4 * kLanes, 1024}) {
      const int shared = threads * 4;
      EXPECT_TRUE(bench.Run("exchange", 0, 2, threads, shared).ok());
      EXPECT_NE(bench.Fault("exchange", 1, threads, shared).find("without a barrier"), std::string::npos);
      EXPECT_NE(bench.Fault("exchange", 2, threads, shared).find("without a barrier"), std::string::npos);
      EXPECT_TRUE(bench.Run("exchange_in_group", 0, 2, threads, shared).ok());
      EXPECT_NE(bench.Fault("exchange_in_group", 1, threads, shared).find("shared offset"), std::string::npos);
    }
    EXPECT_NE(bench.Fault("exchange_in_group", 2, 2 * kLanes, 1024).find("shared offset"), std::string::npos);
    EXPECT_NE(bench.Fault("misuse", 7, kLanes, 1024).find("nobody wrote"), std::string::npos);
  }
  Bench unchecked(0, false);
  EXPECT_TRUE(unchecked.Run("exchange", 1, 2, 64, 256).ok());
}

TEST(Emulator, AdditionsRaceWithAllButAdditions) {
  for (uint64_t seed : {0, 1, 2, 3}) {
    Bench bench(seed);
    ASSERT_TRUE(bench.Run("count", 0, 2, 192, 1024).ok());
    EXPECT_EQ(Download(*bench.device, bench.y)[191], 64.0f);
    EXPECT_NE(bench.Fault("count", 1, 192, 1024).find("shared offset"), std::string::npos);
    EXPECT_NE(bench.Fault("count", 2, 192, 1024).find("without a barrier"), std::string::npos);
  }
}

TEST(Emulator, NamesTheRace) {
  Bench bench(0);
  const std::string fault = bench.Fault("exchange", 2, 2 * kLanes, 1024);
  EXPECT_NE(fault.find("kernel exchange: block (0, 0, 0): race: thread "), std::string::npos) << fault;
}

TEST(Emulator, FindsDivergence) {
  for (uint64_t seed : {0, 1, 2, 3}) {
    Bench bench(seed);
    EXPECT_NE(bench.Fault("diverge", 1, 128, 0).find("barrier not reached by all threads"), std::string::npos);
    const std::string ended = bench.Fault("diverge", 2, 128, 0);
    EXPECT_NE(ended.find("GroupSum not reached by all lanes of group "), std::string::npos) << ended;
    EXPECT_NE(ended.find("lane 7 has ended"), std::string::npos) << ended;
    const std::string mixed = bench.Fault("diverge", 3, 128, 0);
    EXPECT_NE(mixed.find("GroupSync"), std::string::npos) << mixed;
    EXPECT_NE(mixed.find("GroupSum"), std::string::npos) << mixed;
    EXPECT_NE(bench.Fault("diverge", 4, 128, 0).find("barrier not reached by all threads"), std::string::npos);
  }
}

TEST(Emulator, FindsBadAddresses) {
  Bench bench(0, false);
  std::vector<char> small(1024);
  bench.x = Upload(*bench.device, small.data(), small.size());
  const int bytes = 16 + kLanes * 4;
  EXPECT_NE(bench.Fault("misuse", 1, kLanes, bytes).find(fmt::format("shared offset {} of {}", bytes, bytes)),
            std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 2, kLanes, bytes).find("shared offset -4"), std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 3, kLanes, bytes).find("not aligned"), std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 4, kLanes, bytes).find("not aligned"), std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 5, kLanes, bytes).find("outside every buffer"), std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 6, kLanes, bytes).find("outside every buffer"), std::string::npos);
  EXPECT_NE(bench.Fault("misuse", 8, kLanes, bytes).find("shuffles from lane"), std::string::npos);
}

template <class T>
void CheckProduct(const char* kernel) {
  constexpr int kK = 2 * kTileK;
  Bench bench(0);
  std::vector<T> x(kTileCols * kK), tiles(kTileRows * kK);
  std::vector<float> w(kTileRows * kK);
  for (size_t i = 0; i < x.size(); ++i) x[i] = FromFloat<T>(std::cos(static_cast<float>(i)));
  for (int row = 0; row < kTileRows; ++row) {
    for (int k = 0; k < kK; ++k) {
      const T v = FromFloat<T>(std::sin(static_cast<float>(row * kK + k) * 1.7f));
      w[static_cast<size_t>(row * kK + k)] = ToFloat(v);
      tiles[static_cast<size_t>(k / kTileK * kTileRows * kTileK + PackedIndex(row, k % kTileK))] = v;
    }
  }
  bench.w = Upload(*bench.device, tiles.data(), tiles.size() * sizeof(T));
  for (int columns : {kTileCols, 3}) {
    bench.x = Upload(*bench.device, x.data(), static_cast<size_t>(columns * kK) * sizeof(T));
    const Status status = bench.Run(kernel, columns, 1, kLanes, kTileCols * (kK + 8) * 2);
    ASSERT_TRUE(status.ok()) << status.text();
    const std::vector<float> y = Download(*bench.device, bench.y);
    for (int row = 0; row < kTileRows; ++row) {
      for (int col = 0; col < kTileCols; ++col) {
        double sum = 0.5;
        for (int k = 0; k < kK && col < columns; ++k) {
          sum +=
              static_cast<double>(w[static_cast<size_t>(row * kK + k)]) * ToFloat(x[static_cast<size_t>(col * kK + k)]);
        }
        EXPECT_NEAR(y[static_cast<size_t>(row * kTileCols + col)], sum, 2e-5) << row << ", " << col;
      }
    }
  }
}
TEST(Emulator, MultipliesBF16) { CheckProduct<bf16>("product_bf16"); }
TEST(Emulator, MultipliesF16) { CheckProduct<f16>("product_f16"); }

// Packs, multiplies and unpacks: the packer is PackedIndex of pairs, and every sum must be exact.
TEST(Emulator, MultipliesInt8) {
  constexpr int kK = 4 * kTileK, kTile = 2 * kTileK;  // int8 of a column; of a tile
  Bench bench(0);
  std::mt19937 random(5);
  const auto draw = [&] { return static_cast<int8_t>(static_cast<int>(random() % 256) - 128); };
  std::vector<int8_t> x(kTileCols * kK), w(kTileRows * kK), tiles(kTileRows * kK);
  for (int8_t& v : x) v = draw();
  for (int8_t& v : w) v = draw();
  for (int row = 0; row < kTileRows; ++row) {
    for (int k = 0; k < kK; ++k) {
      const int pair = k / kTile * kTileRows * kTileK + PackedIndex(row, k % kTile / 2);
      tiles[static_cast<size_t>(pair * 2 + k % 2)] = w[static_cast<size_t>(row * kK + k)];
    }
  }
  bench.w = Upload(*bench.device, tiles.data(), tiles.size());
  for (int columns : {kTileCols, 3}) {
    bench.x = Upload(*bench.device, x.data(), static_cast<size_t>(columns * kK));
    const Status status = bench.Run("product_int8", columns, 1, kLanes, 0);
    ASSERT_TRUE(status.ok()) << status.text();
    const std::vector<float> y = Download(*bench.device, bench.y);
    for (int row = 0; row < kTileRows; ++row) {
      for (int col = 0; col < kTileCols; ++col) {
        int sum = -7;
        for (int k = 0; k < kK && col < columns; ++k) {
          sum += w[static_cast<size_t>(row * kK + k)] * x[static_cast<size_t>(col * kK + k)];
        }
        EXPECT_EQ(std::bit_cast<int>(y[static_cast<size_t>(row * kTileCols + col)]), sum) << row << ", " << col;
      }
    }
  }
}

TEST(Emulator, ReducesInTheButterflysOrder) {
  Bench bench(3);
  ASSERT_TRUE(bench.Run("reduce", 0, 1, kLanes, 0).ok());
  std::vector<float> v = Download(*bench.device, bench.x);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    for (size_t i = 0; i < static_cast<size_t>(distance); ++i) v[i] += v[i + static_cast<size_t>(distance)];
  }
  const std::vector<float> y = Download(*bench.device, bench.y);
  for (int lane = 0; lane < kLanes; ++lane) EXPECT_EQ(y[static_cast<size_t>(lane)], v[0]);
}

TEST(Emulator, ReplaysGraphs) {
  Bench bench(0);
  ASSERT_TRUE(bench.Run("sum_all", 4096, 3, 128, 2048).ok());
  ASSERT_TRUE(bench.Run("exchange", 0, 1, kLanes, 1024).ok());
  const std::vector<float> direct = Download(*bench.device, bench.y);
  ASSERT_TRUE(bench.device->Fill(bench.y.data(), 0xA5, bench.y.bytes()).ok());
  const std::vector<float> empty = Download(*bench.device, bench.y);
  auto graph = bench.device->Capture([&]() -> Status {
    EXPECT_EQ(bench.device->Fill(bench.y.data(), 0, 4).kind(), ErrorKind::kInternal);
    UM_RETURN_IF_ERROR(bench.Run("sum_all", 4096, 3, 128, 2048));
    return bench.Run("exchange", 0, 1, kLanes, 1024);
  });
  ASSERT_TRUE(graph.ok());
  EXPECT_EQ(std::memcmp(Download(*bench.device, bench.y).data(), empty.data(), bench.y.bytes()), 0);
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(bench.device->Run(**graph).ok());
    const std::vector<float> replayed = Download(*bench.device, bench.y);
    EXPECT_EQ(std::memcmp(replayed.data(), direct.data(), bench.y.bytes()), 0);
  }
}

TEST(Emulator, RefusesWrongLaunches) {
  Bench bench(0);
  for (auto [threads, shared] : {std::pair{kLanes + 1, 0}, {0, 0}, {2048, 0}, {kLanes, 1 << 20}, {kLanes, -1}}) {
    EXPECT_EQ(bench.Run("reduce", 0, 1, threads, shared).kind(), ErrorKind::kInternal);
  }
  Launch short_args = bench.Prepare("reduce", 0, 1, kLanes, 0);
  short_args.args_bytes = 8;
  EXPECT_EQ(bench.device->Run(short_args).kind(), ErrorKind::kInternal);
  EXPECT_EQ(bench.device->FindKernel("absent").status().kind(), ErrorKind::kInternal);
  EXPECT_EQ(bench.device->Allocate(size_t{17} << 30, "too much").status().kind(), ErrorKind::kNoDevice);
  EXPECT_EQ(bench.device->Copy(bench.y.data() + 1, bench.y.data(), bench.y.bytes()).kind(), ErrorKind::kInternal);
  EXPECT_EQ(OpenEmulator({.lanes = 16, .seed = 0, .check_races = false}).status().kind(), ErrorKind::kUsage);
}

TEST(Emulator, ListsTheProductsKernels) {
  auto device = OpenEmulator({.lanes = kLanes, .seed = 0, .check_races = true});
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE((*device)->FindKernel("norm_f32").ok());
  if (UM_EMULATOR_WMMA == 0) {
    EXPECT_EQ((*device)->limits().tile_cols, kTileCols);
  }
  const Buffer poisoned = std::move((*device)->Allocate(4, "poison")).value();
  EXPECT_EQ(std::bit_cast<uint32_t>(Download(**device, poisoned)[0]), 0xA5A5A5A5u);
}

}  // namespace
}  // namespace unimax::UM_PORT_NAMESPACE
