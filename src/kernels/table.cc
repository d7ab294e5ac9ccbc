// SPDX-License-Identifier: Apache-2.0
#include "kernels/table.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "kernels/args.h"
#include "kernels/draw_args.h"
#include "kernels/wflat_layout.h"

namespace unimax {
namespace {

int CeilDiv(int a, int b) { return (a + b - 1) / b; }
int ColumnTiles(const Case& c, const Limits& l) { return CeilDiv(c.m, l.tile_cols); }

// ---- when a row fits ----
bool Always(const Case&, const Limits&) { return true; }
template <int kTiles>
LaunchShape Flat(const Case& c, const Limits& l);
// Under --deterministic all products go by rows that sum in one order whatever M is: on Hopper those of linear_wflat,
// elsewhere the flat ones.
bool ByWflat(const Case& c, const Limits& l) { return c.act != DType::kF32 && l.target == "sm_90a"; }
template <int kTiles>
bool FlatFits(const Case& c, const Limits& l) {
  return ColumnTiles(c, l) <= kTiles && c.k % 8 == 0 &&  // rows of x are read 16 bytes at a time
         (c.split_tokens == 0 || !ByWflat(c, l)) && Flat<kTiles>(c, l).shared_bytes <= l.shared_bytes_per_block;
}
template <int kRows>
LaunchShape ShareX(const Case& c, const Limits& l);
template <int kRows>
bool XFits(const Case& c, const Limits& l) {
  return c.m <= kRows && c.k % 8 == 0 && c.split_tokens == 0 &&  // its sums depend on the device's size
         ShareX<kRows>(c, l).shared_bytes <= l.shared_bytes_per_block;
}
template <int kRows>
LaunchShape Wflat(const Case& c, const Limits& l);
template <int kRows>
bool UpTo(const Case& c, const Limits& l) {
  return c.m <= kRows && c.k % 8 == 0 && (c.split_tokens == 0 || ByWflat(c, l)) &&
         Wflat<kRows>(c, l).shared_bytes <= l.shared_bytes_per_block;
}
LaunchShape Form(const Case& c, const Limits& l);
bool FormFits(const Case& c, const Limits& l) {
  return c.m <= 16 && c.k % (c.weight == ChunkForm::kI8 ? 16 : 8) == 0 &&
         Form(c, l).shared_bytes <= l.shared_bytes_per_block;
}
bool TiledFits(const Case& c, const Limits&) { return c.k % 8 == 0; }
// Blocks take 256 rows; with fewer the instruction still gains more than it wastes (M = 128: 0.46 against 0.75 ms a
// layer of the 7B shape).
bool WgmmaFits(const Case& c, const Limits&) { return c.m > 64 && c.k % 8 == 0; }
template <int kDims>
bool Many(const Case& c, const Limits&) {
  return !c.decode && c.attention.head_dim <= kDims && c.attention.head_dim % 8 == 0;
}
bool Dim128(const Case& c, const Limits&) { return !c.decode && c.attention.head_dim == 128; }
// Four groups with three tiles each, as kernels/gpu/attention_split.h lays them out.
int SplitShared(int dims) { return 4 * (3 * 32 * 2 * (dims + 8) * 2 + 16 * 40 * 2); }
template <int kDims>
bool Few(const Case& c, const Limits& l) {
  return c.decode && c.attention.heads != c.attention.kv_heads && c.attention.head_dim <= kDims &&
         c.attention.head_dim % 8 == 0 && SplitShared(128) <= l.shared_bytes_per_block;
}
template <int kDims>
bool Fixed(const Case& c, const Limits& l) {
  const AttentionShape& a = c.attention;
  return c.decode && a.head_dim == kDims && a.heads <= kRingHeads * a.kv_heads && c.split_tokens > 0 &&
         kRingShared <= l.shared_bytes_per_block;
}
template <int kDims>
bool Rings(const Case& c, const Limits& l) {
  Case fixed = c;
  fixed.split_tokens = 1;
  return c.split_tokens == 0 && Fixed<kDims>(fixed, l);  // its sums depend on the device's size
}
// A lane holds 8 elements of a head, and 32 lanes all of it.
bool HeadFits(const Case& c, const Limits&) { return c.attention.head_dim % 8 == 0 && c.attention.head_dim <= 256; }
bool Alone(const Case& c, const Limits& l) {
  return HeadFits(c, l) && c.decode && c.attention.heads == c.attention.kv_heads;
}
bool Grouped(const Case& c, const Limits& l) {
  return HeadFits(c, l) && c.decode && c.attention.heads != c.attention.kv_heads;
}
bool Draws(const Case& c, const Limits&) { return c.draws && c.n < 1 << 22; }
int Rotary(const Case& c) { return c.rotary < 0 ? c.attention.head_dim : c.rotary; }
bool PairsFit(const Case& c, const Limits&) { return c.attention.head_dim % 2 == 0 && Rotary(c) % 2 == 0; }

// ---- how it is launched ----
LaunchShape PerRow(const Case& c, const Limits&) { return {.grid_x = c.m, .threads = 256}; }
LaunchShape RowSum(const Case& c, const Limits& l) {
  const int threads = c.n >= 2048 ? 512 : c.n <= 128 ? 128 : 256;
  return {.grid_x = c.m, .grid_y = c.groups, .threads = threads, .shared_bytes = l.lanes * 8};
}
LaunchShape RowChoice(const Case& c, const Limits& l) {
  return {.grid_x = c.m, .threads = 1024, .shared_bytes = l.lanes * 8};
}
LaunchShape RowDraw(const Case& c, const Limits&) {
  int threads = 64;
  while (threads < kDrawThreads && threads * 4 < c.n) threads *= 2;
  return {.grid_x = c.m, .threads = threads, .shared_bytes = kDrawShared};
}
LaunchShape PerSlice(const Case& c, const Limits&) {
  return {.grid_x = c.m, .grid_y = std::clamp(CeilDiv(c.n, 1024), 1, 64), .threads = 256};
}
LaunchShape RopeSlices(const Case& c, const Limits&) {
  const AttentionShape& a = c.attention;
  const int pairs = c.act == DType::kF32 ? 1024 : 2048;  // a block's: 16 bytes a thread
  return {.grid_x = c.m,
          .grid_y = std::clamp(CeilDiv((a.heads + 2 * a.kv_heads) * a.head_dim / 2, pairs), 1, 64),
          .threads = 256};
}
LaunchShape Plain(const Case& c, const Limits& l) {
  return {.grid_x = CeilDiv(c.n, 128 / l.lanes), .grid_y = CeilDiv(c.m, 4), .threads = 128};
}
// Few blocks get more groups each, so that every multiprocessor has 16 groups' loads in flight.
template <int kTiles>
LaunchShape Flat(const Case& c, const Limits& l) {
  const int blocks = CeilDiv(c.n, 32);
  const int threads = kTiles <= 2 && blocks <= l.multiprocessors && c.split_tokens == 0 ? 512 : 256;
  return {.grid_x = blocks, .threads = threads, .shared_bytes = threads / l.lanes * 2 * kTiles * 16 * l.tile_cols * 4};
}
// As flat rows, with 8 groups and room for 16 rows whatever M is.
LaunchShape Form(const Case& c, const Limits& l) {
  return {.grid_x = CeilDiv(c.n, 32), .threads = 256, .shared_bytes = 256 / l.lanes * 2 * 16 * 16 * 4};
}
// As kernels/gpu/linear_shared.h lays it out: a ring of four stages of x, then the sums of the groups along k.
template <int kRows>
LaunchShape ShareX(const Case& c, const Limits& l) {
  constexpr int kRowGroups = kRows / 16, kPanel = kRowGroups * 32, kKGroups = 8 / kRowGroups, kStageK = kKGroups * 64;
  return {
      .grid_x = std::min(CeilDiv(c.n, kPanel) * CeilDiv(c.k, kStageK), l.multiprocessors),
      .threads = 8 * l.lanes,
      .shared_bytes = 4 * kRows * (kStageK + (l.tile_cols == 8 ? 32 : 8)) * 2 + kKGroups * kRows * (kPanel + 4) * 4};
}
LaunchShape Tiled(const Case& c, const Limits& l) {
  return {.grid_x = CeilDiv(c.m, 64),
          .grid_y = CeilDiv(c.n, 32 * (128 / l.lanes)),
          .threads = 128,
          // Two stages of x, later the sums of all groups.
          .shared_bytes = std::max(2 * 64 * (64 + 8) * 2, 128 / l.lanes * 64 * (32 + 4) * 4)};
}
// As kernels/nvidia/linear_wgmma.h lays it out: four stages, their barriers, outputs on their way, and room to begin on
// a border. Blocks go in pairs.
LaunchShape Wgmma(const Case&, const Limits& l) {
  return {.grid_x = l.multiprocessors / 2 * 2,
          .threads = 384,
          .shared_bytes = 4 * (48 * 1024 + 16) + 2 * 16 * 1024 + 1024,
          .talk = true,
          .x_box = 128};
}
// No more blocks than equal shares make.
template <int kRows>
LaunchShape Wflat(const Case& c, const Limits& l) {
  using Layout = WflatLayout<kRows>;
  const int stages = CeilDiv(c.n, Layout::kPanel) * CeilDiv(c.k, Layout::kStageK);
  return {.grid_x = CeilDiv(stages, CeilDiv(stages, l.multiprocessors)),
          .threads = kChainThreads,
          .shared_bytes = Layout::kBytes,
          .talk = true};
}
int TeamLanes(int head_dim) {
  int lanes = 1;
  while (lanes * 8 < head_dim) lanes *= 2;
  return lanes;
}
int StateBytes(const Case& c, int queries, int threads) {
  return queries * (threads / TeamLanes(c.attention.head_dim)) * (c.attention.head_dim + 2) * 4;
}
constexpr int kDecodeThreads = 128;
LaunchShape Decode(const Case& c, const Limits& l) {
  const int queries = AttentionQueries(c);
  const int chunks = CeilDiv(c.attention.heads / c.attention.kv_heads, queries);
  return {.grid_x = AttentionBlocks(c, l),
          .grid_y = c.attention.kv_heads * chunks,
          .grid_z = c.m,
          .threads = kDecodeThreads,
          // The states of the teams, later the weights of the splits.
          .shared_bytes = std::max(StateBytes(c, queries, kDecodeThreads), 16 + queries * kMostSplits * 4)};
}
LaunchShape Prefill(const Case& c, const Limits&) {
  return {
      .grid_x = c.attention.heads, .grid_y = CeilDiv(c.m, 8), .threads = 128, .shared_bytes = StateBytes(c, 8, 128)};
}

template <int kDims>
LaunchShape Split(const Case& c, const Limits& l) {
  return {.grid_x = AttentionBlocks(c, l),
          .grid_y = c.attention.kv_heads * CeilDiv(c.attention.heads / c.attention.kv_heads, 16),
          .grid_z = c.m,
          .threads = 4 * l.lanes,
          .shared_bytes = SplitShared(kDims)};
}

LaunchShape Ring(const Case&, const Limits& l) {
  return {.grid_x = l.multiprocessors, .threads = kRingGroups * l.lanes, .shared_bytes = kRingShared, .talk = true};
}

constexpr int kTiledGroups = 4;
template <int kDims>
LaunchShape ByRows(const Case& c, const Limits& l) {
  constexpr int kOperandScratch = 16 * 40 * 2;  // the most that a port asks for
  return {.grid_x = c.attention.heads,
          .grid_y = CeilDiv(c.m, 16 * kTiledGroups),
          .threads = kTiledGroups * l.lanes,
          .shared_bytes = 2 * 32 * (2 * kDims + 40) * 2 + kTiledGroups * kOperandScratch};
}

// As kernels/nvidia/attention_wgmma.h lays it out: two stages of keys and values, queries, their barriers.
LaunchShape WgmmaRows(const Case& c, const Limits&) {
  return {.grid_x = c.attention.heads,
          .grid_y = CeilDiv(c.m, 128),
          .threads = 384,
          .shared_bytes = (2 * 64 + 32) * 1024 + 2 * 16 + 8 + 1024,
          .talk = true,
          .x_box = 128};
}

// ---- what it must move ----
double Element(const Case& c) { return Info(c.act).block_bytes; }
double Cells(const Case& c) { return 1.0 * c.m * c.n; }
double EmbedBytes(const Case& c) { return Cells(c) * (Element(c) + 4); }
double PositionBytes(const Case& c) { return Cells(c) * 12; }
double NormBytes(const Case& c) {
  const double in = c.flags & kNormNarrowIn ? Element(c) : 4, out = c.flags & kNormWideOut ? 4 : Element(c);
  return Cells(c) * c.groups * (in + out) + 4.0 * c.n * (c.bare || !(c.flags & kNormLayer) ? 1 : 2);
}
double ActMulBytes(const Case& c) {
  return Cells(c) * ((c.flags & kActWideIn ? 4 : Element(c)) + Element(c) * (c.bare ? 1 : 2));
}
double AddBytes(const Case& c) { return Cells(c) * (8 + Element(c)); }
double SelectBytes(const Case& c) { return Cells(c) * 8; }
double SampleBytes(const Case& c) { return Cells(c) * 4; }
double WeightBytes(const Case& c) {
  if (c.weight == ChunkForm::kSame) return Element(c);
  return 1.0 * FormBytes(c.weight) / (kPackRows * FormK(c.weight));
}
double LinearBytes(const Case& c) {
  const double outputs = 1.0 * c.m * (c.flags & kLinearActMul ? c.n / 2 : c.n);
  const bool narrow = c.weight == ChunkForm::kI8;
  return 1.0 * c.n * c.k * WeightBytes(c) + 1.0 * c.m * c.k * (narrow ? 1 : Element(c)) +
         outputs * ((c.flags & kLinearWide ? 4 : Element(c)) + (c.residual ? 4 : 0));
}
// q and k are read and written where they turn; k and v are read and stored whole.
double RopeBytes(const Case& c) {
  const AttentionShape& a = c.attention;
  return 2.0 * c.m * (a.heads * Rotary(c) + 2.0 * a.kv_heads * a.head_dim) * Element(c) + 4.0 * c.m * Rotary(c);
}
// Positions that `rows` neighbouring queries see.
int Seen(const Case& c, int rows) { return c.window > 0 ? std::min(c.tokens, c.window + rows - 1) : c.tokens; }
double KvBytes(const Case& c) {
  const AttentionShape& a = c.attention;
  const double tokens = c.decode ? 1.0 * c.m * Seen(c, 1) : Seen(c, c.m);
  return 2.0 * tokens * a.kv_heads * a.head_dim * Element(c) + 2.0 * c.m * a.heads * a.head_dim * Element(c);
}

// ---- the shapes of the test ----
constexpr Activation kSilu = Activation::kSilu, kGelu = Activation::kGelu, kGeluTanh = Activation::kGeluTanh,
                     kRelu = Activation::kRelu;
constexpr Case kRowCases[] = {
    {.m = 1, .n = 64}, {.m = 3, .n = 576, .scale = 0.5f}, {.m = 9, .n = 4096}, {.m = 2, .n = 8}, {.m = 2, .n = 9000}};
constexpr Case kNormCases[] = {{.m = 1, .n = 64},
                               {.m = 3, .n = 576},
                               {.m = 9, .n = 4096},
                               {.m = 2, .n = 8},
                               {.m = 2, .n = 9000, .offset = 1},
                               {.m = 3, .n = 65, .flags = kNormLayer},
                               {.m = 2, .n = 9001, .flags = kNormLayer, .bare = true},
                               {.m = 5, .n = 384, .flags = kNormLayer | kNormWideOut},
                               {.m = 4, .n = 48, .flags = kNormNarrowIn, .groups = 3, .offset = 1},
                               {.m = 1, .n = 128, .flags = kNormNarrowIn, .groups = 7},
                               {.m = 3, .n = 129, .flags = kNormNarrowIn | kNormLayer, .groups = 2},
                               {.m = 2, .n = 2560, .flags = kNormNarrowIn | kNormWideOut}};
constexpr Case kActCases[] = {{.m = 1, .n = 64, .activation = kSilu},
                              {.m = 9, .n = 4096, .activation = kSilu},
                              {.m = 2, .n = 9, .bare = true, .activation = kSilu},
                              {.m = 2, .n = 9001, .activation = kGelu},
                              {.m = 3, .n = 576, .bare = true, .activation = kGelu},
                              {.m = 3, .n = 577, .activation = kGeluTanh},
                              {.m = 2, .n = 1030, .bare = true, .activation = kGeluTanh},
                              {.m = 2, .n = 100, .activation = kRelu},
                              {.m = 1, .n = 333, .bare = true, .activation = kRelu},
                              {.m = 2, .n = 40, .activation = Activation::kNone},
                              {.m = 3, .n = 1025, .flags = kActWideIn, .bare = true},
                              {.m = 2, .n = 48, .flags = kActWideIn, .bare = true, .activation = kGelu}};
constexpr Case kPickCases[] = {{.m = 1, .n = 384}, {.m = 5, .n = 49152}, {.m = 2, .n = 1001}, {.m = 1, .n = 1}};
constexpr Case kDrawCases[] = {{.m = 1, .n = 384, .draws = true},
                               {.m = 12, .n = 1001, .draws = true},
                               {.m = 24, .n = 64, .draws = true},
                               {.m = 12, .n = 12289, .draws = true},
                               {.m = 3, .n = 131072, .draws = true}};
constexpr Case kLinearCases[] = {{.m = 1, .n = 64, .k = 64},
                                 {.m = 2, .n = 48, .k = 40},
                                 {.m = 7, .n = 100, .k = 576},
                                 {.m = 8, .n = 512, .k = 1536},
                                 {.m = 9, .n = 33, .k = 256},
                                 {.m = 16, .n = 160, .k = 1024},
                                 {.m = 33, .n = 96, .k = 320},
                                 {.m = 63, .n = 64, .k = 96},
                                 {.m = 64, .n = 128, .k = 128},
                                 {.m = 65, .n = 64, .k = 48},
                                 {.m = 130, .n = 200, .k = 264},
                                 {.m = 20, .n = 64, .k = 2048},
                                 {.m = 3, .n = 192, .k = 64, .flags = kLinearWide, .residual = true},
                                 {.m = 70, .n = 96, .k = 64, .flags = kLinearWide},
                                 {.m = 5, .n = 128, .k = 96, .flags = kLinearActMul, .activation = kSilu},
                                 {.m = 67, .n = 96, .k = 64, .flags = kLinearActMul, .bare = true, .activation = kSilu},
                                 {.m = 3, .n = 160, .k = 56, .flags = kLinearActMul, .activation = kGeluTanh},
                                 {.m = 90, .n = 224, .k = 72, .flags = kLinearActMul, .activation = kGelu},
                                 {.m = 6, .n = 50, .k = 48, .activation = kGelu},
                                 {.m = 11, .n = 41, .k = 80, .activation = kGeluTanh},
                                 {.m = 77, .n = 83, .k = 88, .residual = true, .activation = kRelu, .scale = 0.25f},
                                 {.m = 25, .n = 17, .k = 40, .activation = kSilu, .scale = -1.5f},
                                 {.m = 4, .n = 101, .k = 64, .flags = kLinearWide, .bare = true, .scale = 2, .cap = 3},
                                 {.m = 50, .n = 31, .k = 96, .flags = kLinearWide, .residual = true, .cap = 2},
                                 {.m = 66, .n = 130, .k = 56, .flags = kLinearWide, .residual = true, .scale = 0.22f}};
constexpr Case kFormCases[] = {{.m = 1, .n = 64, .k = 128},
                               {.m = 2, .n = 48, .k = 48},
                               {.m = 7, .n = 100, .k = 576},
                               {.m = 8, .n = 512, .k = 1536},
                               {.m = 9, .n = 33, .k = 256, .residual = true},
                               {.m = 16, .n = 160, .k = 1024, .bare = true},
                               {.m = 15, .n = 96, .k = 2080},
                               {.m = 3, .n = 192, .k = 80, .flags = kLinearWide, .residual = true},
                               {.m = 5, .n = 128, .k = 96, .flags = kLinearActMul, .activation = kSilu},
                               {.m = 12, .n = 224, .k = 144, .flags = kLinearActMul, .activation = kGelu},
                               {.m = 11, .n = 41, .k = 80, .activation = kGeluTanh, .scale = -1.5f}};
constexpr Case kManyCases[] = {{.m = 1, .n = 64, .k = 64},
                               {.m = 9, .n = 33, .k = 256},
                               {.m = 16, .n = 160, .k = 1024, .residual = true},
                               {.m = 12, .n = 320, .k = 648, .flags = kLinearActMul, .activation = kSilu},
                               {.m = 33, .n = 96, .k = 320},
                               {.m = 63, .n = 640, .k = 96},
                               {.m = 64, .n = 128, .k = 128},
                               {.m = 20, .n = 64, .k = 2048},
                               {.m = 31, .n = 512, .k = 1544, .flags = kLinearWide, .residual = true},
                               {.m = 64, .n = 1030, .k = 520, .activation = kGelu, .scale = -1.5f},
                               {.m = 27, .n = 288, .k = 776, .flags = kLinearActMul, .activation = kSilu},
                               {.m = 50, .n = 224, .k = 72, .flags = kLinearActMul, .activation = kGelu},
                               {.m = 40, .n = 448, .k = 1000, .flags = kLinearActMul, .bare = true}};
constexpr Case kWideCases[] = {{.m = 130, .n = 200, .k = 264},
                               {.m = 257, .n = 512, .k = 1056, .residual = true, .activation = kRelu, .scale = 0.25f},
                               {.m = 300, .n = 192, .k = 64, .flags = kLinearWide, .residual = true, .cap = 2},
                               {.m = 513, .n = 352, .k = 96, .flags = kLinearActMul, .activation = kSilu},
                               {.m = 65, .n = 1000, .k = 40, .bare = true},
                               {.m = 200, .n = 130, .k = 2056, .flags = kLinearWide, .residual = true},
                               {.m = 700, .n = 1028, .k = 520, .residual = true, .activation = kGelu, .scale = -1.5f},
                               {.m = 256, .n = 416, .k = 776, .flags = kLinearActMul, .bare = true, .scale = 2},
                               {.m = 300, .n = 704, .k = 2600, .flags = kLinearActMul, .activation = kSilu},
                               {.m = 129, .n = 300, .k = 4168, .residual = true},
                               {.m = 1030, .n = 6400, .k = 192, .flags = kLinearActMul, .activation = kGeluTanh}};
constexpr Case kRopeCases[] = {{.m = 1, .attention = {4, 4, 16, 0}, .decode = true, .tokens = 1},
                               {.m = 2, .attention = {9, 3, 64, 0}, .decode = true, .tokens = 333},
                               {.m = 3, .attention = {2, 1, 80, 0}, .decode = true, .tokens = 40, .rotary = 20},
                               {.m = 2, .attention = {3, 1, 24, 0}, .decode = true, .tokens = 9, .rotary = 12},
                               {.m = 7, .attention = {4, 2, 16, 0}, .tokens = 7},
                               {.m = 33, .attention = {9, 3, 64, 0}, .tokens = 50},
                               {.m = 20, .attention = {2, 2, 128, 0}, .tokens = 96, .rotary = 2},
                               {.m = 5, .attention = {5, 5, 26, 0}, .tokens = 40, .rotary = 0}};
constexpr Case kHeadCases[] = {
    {.m = 1, .attention = {4, 4, 16, 0.25f}, .decode = true, .tokens = 1},
    {.m = 3, .attention = {2, 1, 16, 0.25f}, .decode = true, .tokens = 40},
    {.m = 2, .attention = {9, 3, 64, 0.125f}, .decode = true, .tokens = 333},
    {.m = 1, .attention = {8, 8, 128, 0.09f}, .decode = true, .tokens = 1030},
    {.m = 2, .attention = {16, 2, 80, 0.11f}, .decode = true, .tokens = 65},
    {.m = 2, .attention = {2, 2, 24, 0.2f}, .decode = true, .tokens = 45, .window = 1},
    {.m = 3, .attention = {4, 2, 16, 0.25f}, .decode = true, .tokens = 700, .window = 300, .cap = 3},
    {.m = 1, .attention = {2, 2, 256, 0.06f}, .decode = true, .tokens = 259, .window = 130, .cap = 20},
    {.m = 2, .attention = {6, 1, 48, 0.15f}, .decode = true, .tokens = 90, .window = 1000},
    {.m = 2, .attention = {9, 3, 64, 0.125f}, .decode = true, .tokens = 333, .split_tokens = 64},
    {.m = 1, .attention = {4, 4, 128, 0.09f}, .decode = true, .tokens = 200, .split_tokens = 64},
    {.m = 30, .attention = {3, 3, 40, 0.16f}, .decode = true, .tokens = 290, .split_tokens = 64},
    {.m = 30, .attention = {8, 2, 48, 0.15f}, .decode = true, .tokens = 290, .split_tokens = 64},
    {.m = 2,
     .attention = {4, 2, 16, 0.25f},
     .decode = true,
     .tokens = 700,
     .window = 300,
     .split_tokens = 64,
     .cap = 3},
    {.m = 7, .attention = {4, 2, 16, 0.25f}, .tokens = 7},
    {.m = 33, .attention = {9, 3, 64, 0.125f}, .tokens = 50},
    {.m = 20, .attention = {2, 2, 128, 0.09f}, .tokens = 96},
    {.m = 45, .attention = {4, 2, 40, 0.16f}, .tokens = 100, .window = 8},
    {.m = 30, .attention = {3, 1, 16, 0.25f}, .tokens = 70, .window = 33, .cap = 2},
    {.m = 12, .attention = {2, 2, 8, 0.35f}, .tokens = 40, .cap = 5},
    {.m = 150, .attention = {2, 1, 128, 0.09f}, .tokens = 200},
    {.m = 300, .attention = {4, 2, 128, 0.08f}, .tokens = 420, .window = 130},
    {.m = 140, .attention = {2, 2, 128, 0.1f}, .tokens = 290, .cap = 4},
    {.m = 90, .attention = {2, 1, 64, 0.1f}, .tokens = 300, .window = 65, .cap = 4},
    {.m = 3, .attention = {2, 1, 256, 0.06f}, .tokens = 40}};

// Runs that cut rows anywhere: one long row, many rows of other lengths, more blocks than tiles; rows that have equally
// many tiles, several blocks a head and several heads a block.
constexpr Case kRingCases[] = {
    {.m = 1, .attention = {8, 8, 128, 0.09f}, .decode = true, .tokens = 1},
    {.m = 3, .attention = {6, 6, 128, 0.09f}, .decode = true, .tokens = 97, .window = 1},
    {.m = 2, .attention = {8, 1, 128, 0.09f}, .decode = true, .tokens = 65},
    {.m = 3, .attention = {9, 3, 64, 0.125f}, .decode = true, .tokens = 333},
    {.m = 1, .attention = {2, 1, 64, 0.125f}, .decode = true, .tokens = 20000},
    {.m = 1, .attention = {32, 8, 128, 0.09f}, .decode = true, .tokens = 4127},
    {.m = 3, .attention = {16, 8, 128, 0.09f}, .decode = true, .tokens = 1050},
    {.m = 4, .attention = {64, 64, 64, 0.125f}, .decode = true, .tokens = 60},
    {.m = 4, .attention = {96, 48, 128, 0.09f}, .decode = true, .tokens = 60},
    {.m = 40, .attention = {4, 4, 64, 0.125f}, .decode = true, .tokens = 290},
    {.m = 70, .attention = {16, 2, 128, 0.09f}, .decode = true, .tokens = 500},
    {.m = 200, .attention = {2, 2, 128, 0.09f}, .decode = true, .tokens = 800},
    {.m = 33, .attention = {7, 1, 64, 0.125f}, .decode = true, .tokens = 231},
    {.m = 5, .attention = {12, 4, 128, 0.09f}, .decode = true, .tokens = 1000, .window = 300, .cap = 20},
    {.m = 9, .attention = {4, 2, 64, 0.125f}, .decode = true, .tokens = 700, .window = 33, .cap = 3}};

// The same, and rows of so many lengths that blocks share them in many ways.
constexpr auto kFixedCases = [] {
  std::array<Case, std::size(kRingCases) + 4> cases = {};
  auto end = std::copy(std::begin(kRingCases), std::end(kRingCases), cases.begin());
  *end++ = {.m = 37, .attention = {8, 2, 128, 0.09f}, .decode = true, .tokens = 2900};
  *end++ = {.m = 1, .attention = {1, 1, 128, 0.09f}, .decode = true, .tokens = 9000};
  *end++ = {.m = 19, .attention = {5, 1, 64, 0.125f}, .decode = true, .tokens = 3000, .window = 2100};
  *end++ = {.m = 64, .attention = {8, 8, 64, 0.125f}, .decode = true, .tokens = 1030};
  for (Case& c : cases) c.split_tokens = 256;
  return cases;
}();

constexpr DType f32 = DType::kF32, bf16 = DType::kBF16, f16 = DType::kF16;

constexpr const char* k90a = "sm_90a";  // Hopper
// Where copies pass the registers, and where that is emulated.
constexpr const char* kCopy = "sm_80 gfx90a gfx942 gfx950 emulator32 emulator64";
constexpr ChunkForm kQ4 = ChunkForm::kQ4, kE4M3 = ChunkForm::kE4M3, kI8 = ChunkForm::kI8;

// Tolerances: f32 rows by their sum length; bf16 stores 8 bits (2^-9 relative), f16 11 bits.
constexpr Row kRows[] = {
    // clang-format off
    // op, variant, kernel, act, fits, launch, largest error, bytes, cases, only targets, form of the weights
    {OpKind::kEmbed, "plain",  "embed_f32",         f32,  Always, PerRow, 0.0f, EmbedBytes, kRowCases},
    {OpKind::kEmbed, "packed", "embed_packed_bf16", bf16, Always, PerRow, 0.0f, EmbedBytes, kRowCases},
    {OpKind::kEmbed, "packed", "embed_packed_f16",  f16,  Always, PerRow, 0.0f, EmbedBytes, kRowCases},
    {OpKind::kAddPosition, "row", "add_position", f32, Always, PerRow, 1e-6f, PositionBytes, kRowCases},
    {OpKind::kNorm, "row", "norm_f32",  f32,  Always, RowSum, 2e-6f, NormBytes, kNormCases},
    {OpKind::kNorm, "row", "norm_bf16", bf16, Always, RowSum, 3e-3f, NormBytes, kNormCases},
    {OpKind::kNorm, "row", "norm_f16",  f16,  Always, RowSum, 4e-4f, NormBytes, kNormCases},
    {OpKind::kRopeAndStore, "pairs", "rope_store_f32",  f32,  PairsFit, RopeSlices, 1e-6f, RopeBytes, kRopeCases},
    {OpKind::kRopeAndStore, "pairs", "rope_store_bf16", bf16, PairsFit, RopeSlices, 3e-3f, RopeBytes, kRopeCases},
    {OpKind::kRopeAndStore, "pairs", "rope_store_f16",  f16,  PairsFit, RopeSlices, 4e-4f, RopeBytes, kRopeCases},
    {OpKind::kActMul, "slice", "act_mul_f32",  f32,  Always, PerSlice, 1e-6f, ActMulBytes, kActCases},
    {OpKind::kActMul, "slice", "act_mul_bf16", bf16, Always, PerSlice, 3e-3f, ActMulBytes, kActCases},
    {OpKind::kActMul, "slice", "act_mul_f16",  f16,  Always, PerSlice, 4e-4f, ActMulBytes, kActCases},
    {OpKind::kAdd, "slice", "add_f32",  f32,  Always, PerSlice, 1e-6f, AddBytes, kRowCases},
    {OpKind::kAdd, "slice", "add_bf16", bf16, Always, PerSlice, 1e-6f, AddBytes, kRowCases},
    {OpKind::kAdd, "slice", "add_f16",  f16,  Always, PerSlice, 1e-6f, AddBytes, kRowCases},
    {OpKind::kSelect, "row", "select_rows", f32, Always, PerRow, 0.0f, SelectBytes, kRowCases},
    {OpKind::kSample, "draw", "sample_draw", f32, Draws, RowDraw, 0.0f, SampleBytes, kDrawCases},
    {OpKind::kSample, "greedy", "sample_greedy", f32, Always, RowChoice, 0.0f, SampleBytes, kPickCases},
    {OpKind::kLinear, "plain", "linear_plain_f32",   f32,  Always,      Plain,   1e-5f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "flat1", "linear_flat_bf16_1", bf16, FlatFits<1>, Flat<1>, 3e-3f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "wflat16","linear_wflat_bf16_16",bf16, UpTo<16>, Wflat<16>, 3e-3f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "flat2", "linear_flat_bf16_2", bf16, FlatFits<2>, Flat<2>, 3e-3f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "wflat32","linear_wflat_bf16_32",bf16, UpTo<32>, Wflat<32>, 3e-3f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "wflat64","linear_wflat_bf16_64",bf16, UpTo<64>, Wflat<64>, 3e-3f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "flat4", "linear_flat_bf16_4", bf16, FlatFits<4>, Flat<4>, 3e-3f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "flat8", "linear_flat_bf16_8", bf16, FlatFits<8>, Flat<8>, 3e-3f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "shared32", "linear_shared_bf16_32", bf16, XFits<32>, ShareX<32>, 3e-3f, LinearBytes, kManyCases},
    {OpKind::kLinear, "shared64", "linear_shared_bf16_64", bf16, XFits<64>, ShareX<64>, 3e-3f, LinearBytes, kManyCases},
    {OpKind::kLinear, "wgmma", "linear_wgmma_bf16", bf16, WgmmaFits, Wgmma, 3e-3f, LinearBytes, kWideCases, k90a},
    {OpKind::kLinear, "tiled", "linear_tiled_bf16",  bf16, TiledFits,   Tiled,   3e-3f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "direct", "linear_direct_bf16", bf16, TiledFits, Tiled, 3e-3f, LinearBytes, kLinearCases, kCopy},
    {OpKind::kLinear, "q4", "linear_q4_bf16", bf16, FormFits, Form, 3e-3f, LinearBytes, kFormCases, nullptr, kQ4},
    {OpKind::kLinear, "e4m3", "linear_e4m3_bf16", bf16, FormFits, Form, 3e-3f, LinearBytes, kFormCases, nullptr, kE4M3},
    {OpKind::kLinear, "int8", "linear_int8_bf16", bf16, FormFits, Form, 3e-3f, LinearBytes, kFormCases, nullptr, kI8},
    {OpKind::kLinear, "flat1", "linear_flat_f16_1",  f16,  FlatFits<1>, Flat<1>, 4e-4f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "wflat16","linear_wflat_f16_16",f16, UpTo<16>, Wflat<16>, 4e-4f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "flat2", "linear_flat_f16_2",  f16,  FlatFits<2>, Flat<2>, 4e-4f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "wflat32","linear_wflat_f16_32",f16, UpTo<32>, Wflat<32>, 4e-4f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "wflat64","linear_wflat_f16_64",f16, UpTo<64>, Wflat<64>, 4e-4f, LinearBytes, kManyCases, k90a},
    {OpKind::kLinear, "flat4", "linear_flat_f16_4",  f16,  FlatFits<4>, Flat<4>, 4e-4f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "flat8", "linear_flat_f16_8",  f16,  FlatFits<8>, Flat<8>, 4e-4f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "shared32", "linear_shared_f16_32", f16, XFits<32>, ShareX<32>, 4e-4f, LinearBytes, kManyCases},
    {OpKind::kLinear, "shared64", "linear_shared_f16_64", f16, XFits<64>, ShareX<64>, 4e-4f, LinearBytes, kManyCases},
    {OpKind::kLinear, "wgmma", "linear_wgmma_f16", f16, WgmmaFits, Wgmma, 4e-4f, LinearBytes, kWideCases, k90a},
    {OpKind::kLinear, "tiled", "linear_tiled_f16",   f16,  TiledFits,   Tiled,   4e-4f, LinearBytes, kLinearCases},
    {OpKind::kLinear, "direct", "linear_direct_f16", f16, TiledFits, Tiled, 4e-4f, LinearBytes, kLinearCases, kCopy},
    {OpKind::kAttention, "decode1", "attention_decode_f32_1",  f32,  Alone,   Decode,  5e-6f, KvBytes, kHeadCases},
    {OpKind::kAttention, "decode4", "attention_decode_f32_4",  f32,  Grouped, Decode,  5e-6f, KvBytes, kHeadCases},
    {OpKind::kAttention, "prefill", "attention_prefill_f32",   f32,  HeadFits,Prefill, 5e-6f, KvBytes, kHeadCases},
    {OpKind::kAttention, "ring64","attention_ring_bf16_64",bf16, Rings<64>,Ring, 3e-3f, KvBytes, kRingCases, k90a},
    {OpKind::kAttention, "ring128","attention_ring_bf16_128",bf16, Rings<128>,Ring,3e-3f, KvBytes, kRingCases, k90a},
    {OpKind::kAttention, "fixed64","attention_fixed_bf16_64",bf16,Fixed<64>,Ring, 3e-3f, KvBytes, kFixedCases, k90a},
    {OpKind::kAttention,"fixed128","attention_fixed_bf16_128",bf16,Fixed<128>,Ring,3e-3f,KvBytes, kFixedCases, k90a},
    {OpKind::kAttention, "split64", "attention_split_bf16_64", bf16, Few<64>, Split<64>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "split128","attention_split_bf16_128",bf16, Few<128>,Split<128>,3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "decode1", "attention_decode_bf16_1", bf16, Alone,   Decode,  3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "decode4", "attention_decode_bf16_4", bf16, Grouped, Decode,  3e-3f, KvBytes, kHeadCases},
    // Only by --force: what they gain is in docs/numerics.md.
    {OpKind::kAttention, "lazy", "attention_lazy_bf16_64", bf16, Few<64>, Split<64>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "lazy", "attention_lazy_bf16_128", bf16, Few<128>, Split<128>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "lazy", "attention_lazy_bf16_1", bf16, Alone, Decode, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "lazy", "attention_lazy_bf16_4", bf16, Grouped, Decode, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "unified", "attention_unified_bf16_64", bf16, Few<64>, Split<64>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "unified","attention_unified_bf16_128",bf16,Few<128>, Split<128>,3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "unified", "attention_unified_bf16_1", bf16, Alone, Decode, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "unified", "attention_unified_bf16_4", bf16, Grouped, Decode, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "wgmma", "attention_wgmma_bf16", bf16, Dim128, WgmmaRows, 3e-3f, KvBytes, kHeadCases, k90a},
    {OpKind::kAttention, "rows64", "attention_rows_bf16_64", bf16, Many<64>, ByRows<64>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "rows128","attention_rows_bf16_128", bf16, Many<128>, ByRows<128>, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "prefill", "attention_prefill_bf16",  bf16, HeadFits,Prefill, 3e-3f, KvBytes, kHeadCases},
    {OpKind::kAttention, "ring64","attention_ring_f16_64",f16, Rings<64>,Ring, 4e-4f, KvBytes, kRingCases, k90a},
    {OpKind::kAttention, "ring128","attention_ring_f16_128",f16, Rings<128>,Ring, 4e-4f, KvBytes, kRingCases, k90a},
    {OpKind::kAttention, "fixed64","attention_fixed_f16_64",f16, Fixed<64>,Ring, 4e-4f, KvBytes, kFixedCases, k90a},
    {OpKind::kAttention, "fixed128","attention_fixed_f16_128",f16, Fixed<128>,Ring,4e-4f,KvBytes, kFixedCases, k90a},
    {OpKind::kAttention, "split64", "attention_split_f16_64", f16, Few<64>, Split<64>, 4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "split128","attention_split_f16_128",f16, Few<128>,Split<128>,4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "decode1", "attention_decode_f16_1",  f16,  Alone,   Decode,  4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "decode4", "attention_decode_f16_4",  f16,  Grouped, Decode,  4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "wgmma", "attention_wgmma_f16", f16, Dim128, WgmmaRows, 4e-4f, KvBytes, kHeadCases, k90a},
    {OpKind::kAttention, "rows64", "attention_rows_f16_64", f16, Many<64>, ByRows<64>, 4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "rows128", "attention_rows_f16_128", f16, Many<128>, ByRows<128>, 4e-4f, KvBytes, kHeadCases},
    {OpKind::kAttention, "prefill", "attention_prefill_f16",   f16,  HeadFits,Prefill, 4e-4f, KvBytes, kHeadCases},
    // clang-format on
};

// The emulator has them in their own tests alone.
bool HasHopperRows(const Limits& limits) { return limits.target == k90a || limits.target == "emulator32"; }

}  // namespace

std::span<const Row> GpuRows() { return kRows; }

bool HasKernel(const Row& row, const Limits& limits) {
  if (row.targets == nullptr) return true;
  for (std::string_view left = row.targets; !left.empty();) {
    const size_t end = std::min(left.find(' '), left.size());
    if (left.substr(0, end) == limits.target) return true;
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  return false;
}

// A block leaves at most two parts of 64 x 128 outputs (linear_shared), or one of 128 x 256 (linear_wgmma).
int64_t LinearSums(const Limits& limits) {
  return int64_t{128} * (HasHopperRows(limits) ? 256 : 128) * limits.multiprocessors;
}
// Two parts a block of 64 x 128 outputs (wflat_parts).
int64_t LinearWordBytes(const Limits& limits) {
  return HasHopperRows(limits) ? int64_t{2} * kChainRows * 128 * 4 * limits.multiprocessors : 0;
}
// One for each square of 32 rows of w and 16 of x (linear_shared), or for each block of unfinished tiles and each half
// of it (linear_wgmma).
int LinearCounters(int n, const Limits& limits) { return std::max(CeilDiv(n, 128) * 16, 2 * limits.multiprocessors); }

// Under --deterministic as many as there would be splits without.
int AttentionBlocks(const Case& c, const Limits& limits) {
  Case free = c;
  free.split_tokens = 0;
  return std::min(AttentionSplits(c, limits), AttentionSplits(free, limits));
}

// 16 bytes for two elements: of at most two pieces a block, or of all units of a row and head that begins in a block
// and does not end there.
int64_t RingBytes(const AttentionShape& a, bool fixed, const Limits& l) {
  const int64_t piece = int64_t{a.heads / a.kv_heads} * a.head_dim / 2 * 16;
  return HasHopperRows(l) ? (fixed ? MostUnits(a.kv_heads) : 2) * piece * l.multiprocessors : 0;
}

int AttentionQueries(const Case& c) { return c.attention.heads == c.attention.kv_heads ? 1 : 4; }

int AttentionSplits(const Case& c, const Limits& limits) {
  if (!c.decode) return 1;
  const AttentionShape& a = c.attention;
  // A window may begin within a tile, so it may reach into one tile more. A single split would sum differently.
  if (c.split_tokens > 0) return std::max(CeilDiv(Seen(c, 1) + 32, c.split_tokens), 2);
  if (c.act != DType::kF32 && Few<128>(c, limits)) {  // one block fills a multiprocessor: no second wave
    constexpr int kTokensPerBlock = 64;
    const int blocks = c.m * a.kv_heads * CeilDiv(a.heads / a.kv_heads, 16);
    return std::clamp(std::min(limits.multiprocessors / blocks, CeilDiv(Seen(c, 1), kTokensPerBlock)), 1, kMostSplits);
  }
  constexpr int kBlocksPerMultiprocessor = 4;  // enough loads in flight to reach the memory rate
  constexpr int kTokensPerBlock = 64;          // below that a block's fixed cost outweighs its reading
  const int blocks =
      c.m * c.attention.kv_heads * CeilDiv(c.attention.heads / c.attention.kv_heads, AttentionQueries(c));
  const int wanted = CeilDiv(limits.multiprocessors * kBlocksPerMultiprocessor, std::max(blocks, 1));
  return std::clamp(std::min(wanted, CeilDiv(Seen(c, 1), kTokensPerBlock)), 1, kMostSplits);
}

}  // namespace unimax
