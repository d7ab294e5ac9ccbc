// SPDX-License-Identifier: Apache-2.0
// What lies in device memory after loading, bit by bit, for every way in which a file may hold a weight, on the
// emulator.
#include "exec/graph_weights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <random>

#include "device/emulator.h"
#include "kernels/pack.h"
#include "sim/sim_device.h"

namespace unimax {
namespace {

// Tensors in memory that begin at odd addresses, as those of a safetensors file may.
class Tensors : public WeightSource {
 public:
  void Add(const std::string& name, DType type, int rows, int cols) {
    Tensor& t = tensors_[name];
    t = {type, rows, cols, std::vector<std::byte>(RowBytes(type, static_cast<uint64_t>(rows) * cols) + 1)};
    std::mt19937 random(static_cast<unsigned>(std::hash<std::string>()(name)));
    for (std::byte& b : t.bytes) b = static_cast<std::byte>(random());
    if (!IsInteger(type)) return;
    const auto block = static_cast<size_t>(Info(type).block_bytes);
    const uint16_t scale = FloatToF16(0.01f);
    for (size_t at = 1; at < t.bytes.size(); at += block) {
      std::memcpy(&t.bytes[at], &scale, 2);
      if (type == DType::kQ4_1 || type == DType::kQ5_1) std::memcpy(&t.bytes[at + 2], &scale, 2);
    }
  }
  Result<SourceTensor> Find(const std::string& name, int rows, int cols) const override {
    const Tensor& t = tensors_.at(name);
    if (t.rows != rows || t.cols != cols) return BadModel("{} is [{}, {}]", name, t.rows, t.cols);
    return SourceTensor{t.type, t.bytes.data() + 1, rows, cols};
  }
  void Done(const SourceTensor& tensor) const override { done += tensor.rows; }
  // Element (row, k) of a tensor, as a float.
  float At(const std::string& name, int row, int k) const {
    const Tensor& t = tensors_.at(name);
    std::vector<float> values(static_cast<size_t>(t.cols));
    const uint64_t bytes = RowBytes(t.type, values.size());
    Dequantize(t.type, t.bytes.data() + 1 + static_cast<uint64_t>(row) * bytes, values.size(), values.data());
    return values[static_cast<size_t>(k)];
  }
  mutable std::atomic<int> done = 0;

 private:
  struct Tensor {
    DType type;
    int rows, cols;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Tensor> tensors_;
};

// A program of products alone, each over one weight.
struct Model {
  Program program;
  Tensors source;
  void Add(Weight weight, OpKind user = OpKind::kLinear) {
    Op op;
    op.kind = user;
    op.weight = static_cast<int>(program.weights.size());
    program.ops.push_back(op);
    program.weights.push_back(std::move(weight));
  }
};

Weight Of(const std::string& name, int cols, std::vector<Weight::Part> parts, bool interleaved = false) {
  Weight weight{.name = name, .cols = cols, .parts = std::move(parts), .interleaved = interleaved};
  for (const Weight::Part& part : weight.parts) weight.rows += part.rows;
  return weight;
}

// All ways but the blocks of integers with columns that are no whole blocks, which no file may hold.
void AddAllWays(Model& m) {
  const auto add = [&](const char* name, DType type, int rows, int cols) { m.source.Add(name, type, rows, cols); };
  for (const auto& [name, type] :
       {std::pair("f32", DType::kF32), std::pair("bf16", DType::kBF16), std::pair("f16", DType::kF16)}) {
    add(name, type, 70, 129);
    m.Add(Of(name, 129, {{.tensor = name, .rows = 70}}));
  }
  for (const auto& [name, type] :
       {std::pair("q4_0", DType::kQ4_0), std::pair("q5_1", DType::kQ5_1), std::pair("q8_0", DType::kQ8_0)}) {
    add(name, type, 35, 96);
    m.Add(Of(name, 96, {{.tensor = name, .rows = 35}}));
  }
  add("q", DType::kBF16, 40, 64);
  add("k", DType::kBF16, 9, 64);
  add("v", DType::kF16, 9, 64);
  m.Add(Of("alike", 64, {{.tensor = "q", .rows = 40}, {.tensor = "k", .rows = 9}}));
  m.Add(Of("mixed", 64, {{.tensor = "q", .rows = 40}, {.tensor = "k", .rows = 9}, {.tensor = "v", .rows = 9}}));
  add("gate", DType::kBF16, 48, 72);
  add("up", DType::kBF16, 48, 72);
  add("up8", DType::kQ8_0, 48, 64);
  add("gate8", DType::kQ8_0, 48, 64);
  m.Add(Of("gate_up", 72, {{.tensor = "gate", .rows = 48}, {.tensor = "up", .rows = 48}}, true));
  m.Add(Of("gate_up_8", 64, {{.tensor = "gate8", .rows = 48}, {.tensor = "up8", .rows = 48}}, true));
  add("heads", DType::kBF16, 60, 40);  // rows 5 .. 9, 25 .. 29, 45 .. 49
  m.Add(Of("strided", 40, {{.tensor = "heads", .rows = 15, .first = 5, .block = 5, .stride = 20, .tensor_rows = 60}}));
  add("conv", DType::kF16, 24, 50);
  m.Add(Of("transposed", 24, {{.tensor = "conv", .rows = 50, .tensor_rows = 50, .transposed = true}}));
  add("positions", DType::kBF16, 30, 20);
  m.Add(Of("positions", 20, {{.tensor = "positions", .rows = 30}}), OpKind::kAddPosition);
}

// Where element (row, k) of a weight comes from.
float Wanted(const Model& m, const Weight& weight, int row, int k) {
  size_t p = 0;
  if (weight.interleaved) {
    p = static_cast<size_t>(row / 16 % 2);
    row = row / 32 * 16 + row % 16;
  } else {
    for (; row >= weight.parts[p].rows; ++p) row -= weight.parts[p].rows;
  }
  const Weight::Part& part = weight.parts[p];
  if (part.block > 0) row = part.first + row / part.block * part.stride + row % part.block;
  return part.transposed ? m.source.At(part.tensor, k, row) : m.source.At(part.tensor, row, k);
}

std::vector<std::byte> WantedBytes(const Model& m, const Weight& weight, bool plain, DType act, TileOrder order) {
  const int rows = weight.rows, cols = weight.cols;
  std::vector<std::byte> bytes(plain ? static_cast<size_t>(rows) * static_cast<size_t>(cols) * 4
                                     : PackedBytes(rows, cols));
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < cols; ++k) {
      const float value = Wanted(m, weight, row, k);
      if (plain) {
        std::memcpy(&bytes[(static_cast<size_t>(row) * static_cast<size_t>(cols) + static_cast<size_t>(k)) * 4], &value,
                    4);
        continue;
      }
      const int tile = row / kPackRows * ((cols + kPackK - 1) / kPackK) + k / kPackK;
      const int at = tile * kPackElements + TileIndex(order, row % kPackRows, k % kPackK);
      const uint16_t rounded = RoundTo(act, value);
      std::memcpy(&bytes[static_cast<size_t>(at) * 2], &rounded, 2);
    }
  }
  return bytes;
}

void LoadAll(int lanes, DType act, uint64_t scratch_bytes) {
  const auto device = OpenEmulator({.lanes = lanes, .seed = 3});
  ASSERT_TRUE(device.ok());
  Model m;
  AddAllWays(m);
  const auto buffers = UploadWeights(m.program, m.source, **device, act, scratch_bytes);
  ASSERT_TRUE(buffers.ok()) << buffers.status().text();
  for (size_t w = 0; w < m.program.weights.size(); ++w) {
    const Weight& weight = m.program.weights[w];
    const bool plain = act == DType::kF32 || m.program.ops[w].kind == OpKind::kAddPosition;
    const std::vector<std::byte> want = WantedBytes(m, weight, plain, act, (*device)->limits().tile_order);
    std::vector<std::byte> got((*buffers)[w].bytes());
    ASSERT_TRUE((*device)->Download(got.data(), (*buffers)[w].data(), got.size()).ok());
    EXPECT_EQ(got, want) << weight.name << " as " << Info(act).name << " at " << lanes << " lanes";
  }
  EXPECT_GT(m.source.done.load(), 600);  // rows: all that the source still holds
}

TEST(UploadWeights, EveryWayAt32Lanes) {
  for (const DType act : {DType::kBF16, DType::kF16, DType::kF32}) LoadAll(32, act, kScratchBytes);
}
TEST(UploadWeights, EveryWayAt64Lanes) {
  for (const DType act : {DType::kBF16, DType::kF16}) LoadAll(64, act, kScratchBytes);
}
// Weights that the scratch does not hold at once, down to one strip of 16 rows.
TEST(UploadWeights, InPartsOfTheScratch) {
  for (const uint64_t scratch : {1, 8'000, 16'384, 30'000}) LoadAll(32, DType::kBF16, scratch);
}

// More than one piece of an upload, whose borders lie within rows.
TEST(UploadWeights, LongerThanAPiece) {
  const auto device = OpenEmulator({.lanes = 32});
  ASSERT_TRUE(device.ok());
  Model m;
  m.source.Add("big", DType::kBF16, 900, 1501);
  m.Add(Of("big", 1501, {{.tensor = "big", .rows = 900}}));
  const auto buffers = UploadWeights(m.program, m.source, **device, DType::kBF16);
  ASSERT_TRUE(buffers.ok()) << buffers.status().text();
  std::vector<uint16_t> got((*buffers)[0].bytes() / 2), want(got.size());
  ASSERT_TRUE((*device)->Download(got.data(), (*buffers)[0].data(), got.size() * 2).ok());
  std::vector<float> row(1501);
  const SourceTensor tensor = m.source.Find("big", 900, 1501).value();
  const auto read = [&](int r) -> const float* {
    if (r >= 900) return nullptr;
    Dequantize(DType::kBF16, tensor.Row(r), row.size(), row.data());
    return row.data();
  };
  PackStrips(TileOrder::kMma, DType::kBF16, 0, 57, 1501, read, want.data());
  EXPECT_EQ(got, want);
}

TEST(UploadWeights, NamesTheWeightThatDoesNotFit) {
  const auto inner = OpenEmulator({.lanes = 32});
  ASSERT_TRUE(inner.ok());
  Model m;
  m.source.Add("one", DType::kBF16, 64, 64);
  m.Add(Of("layers.0.one", 64, {{.tensor = "one", .rows = 64}}));
  for (const auto& [free, what] : {std::pair(8'000, "layers.0.one: "), std::pair(12'000, "packing layers.0.one: ")}) {
    sim::SimDevice device(**inner, free);
    const auto buffers = UploadWeights(m.program, m.source, device, DType::kBF16);
    EXPECT_EQ(buffers.status().text().find(what), 0u) << buffers.status().text();
    EXPECT_EQ(buffers.status().kind(), ErrorKind::kNoDevice);
  }
}

}  // namespace
}  // namespace unimax
