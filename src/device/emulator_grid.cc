// SPDX-License-Identifier: Apache-2.0
#include "device/emulator_grid.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace unimax::emulator {

constinit thread_local ThreadState* running_thread = nullptr;

namespace {

// Shuffled, several blocks run at once, so that atomics of different blocks mix.
constexpr int kShuffledBlocks = 3;
// Stack tops differ by this much, or the live frames of all lanes would share a few cache sets.
constexpr size_t kStackShift = 192, kStackShifts = 16;

const char* Name(Meeting meeting) {
  switch (meeting) {
    case Meeting::kPause:
      return "a word or a copy";
    case Meeting::kSomeBarrier:
      return "SomeBarrier";
    case Meeting::kCluster:
      return "ClusterBarrier";
    case Meeting::kBarrier:
      return "Barrier";
    case Meeting::kGroupSync:
      return "GroupSync";
    case Meeting::kShuffle:
      return "Shuffle";
    case Meeting::kSum:
      return "GroupSum";
    case Meeting::kSumInt:
      return "GroupSum(int)";
    case Meeting::kMax:
      return "GroupMax";
    case Meeting::kMaxInt:
      return "GroupMax(int)";
    case Meeting::kMmaBF16:
      return "Mma<bf16>";
    case Meeting::kMmaF16:
      return "Mma<f16>";
    case Meeting::kMmaI8:
      return "Mma<i8x2>";
    case Meeting::kNone:
      break;
  }
  return "nothing";
}

// What a butterfly of exchanges between lanes i and i ^ distance, distance = lanes / 2 .. 1, leaves in every lane.
template <class T, class Combine>
void Butterfly(GroupState& group, int lanes, Combine combine) {
  T value[kMaxLanes];
  for (int i = 0; i < lanes; ++i) value[i] = std::bit_cast<T>(group.value[i]);
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    for (int i = 0; i < distance; ++i) value[i] = combine(value[i], value[i + distance]);
  }
  for (int i = 0; i < lanes; ++i) group.result[i] = std::bit_cast<uint32_t>(value[0]);
}

}  // namespace

Grid::Grid(const EmulatorOptions& options, GlobalMemory* memory)
    : lanes_(options.lanes),
      shuffled_(options.seed != 0),
      check_races_(options.check_races),
      memory_(memory),
      random_(options.seed) {}

void Grid::MakeBlocks(size_t count) {
  while (blocks_.size() < count) {
    BlockState& block = blocks_.emplace_back();
    block.grid = this;
    block.thread = std::make_unique<ThreadState[]>(kMaxThreads);
    block.group = std::make_unique<GroupState[]>(kMaxThreads / 32);
  }
  running_ = count;
  ready_.resize(std::max(ready_.size(), count * kMaxThreads));
}

Status Grid::Run(const EmulatorEntry& entry, const Launch& launch) {
  entry_ = &entry;
  launch_ = &launch;
  fault_.clear();
  ready_count_ = 0;
  paused_.clear();
  mail_.Drop();
  std::vector<int> order(static_cast<size_t>(launch.grid_x) * launch.grid_y * launch.grid_z);
  if (launch.grid_x % entry.cluster != 0 || (entry.cluster > 1 && !launch.together)) {
    return Internal("kernel {}: {} blocks are no clusters of {} that run together", entry.name, launch.grid_x,
                    entry.cluster);
  }
  clusters_.clear();
  if (entry.cluster > 1) clusters_.resize(order.size() / static_cast<size_t>(entry.cluster));
  for (Cluster& c : clusters_) c.order.Reset(check_races_ ? launch.threads / lanes_ * entry.cluster : 0);
  MakeBlocks(launch.together ? order.size() : shuffled_ ? kShuffledBlocks : 1);
  for (BlockState& block : blocks_) {
    UM_RETURN_IF_ERROR(block.stacks.Grow(static_cast<size_t>(launch.threads)));
    block.running = false;
  }
  std::iota(order.begin(), order.end(), 0);
  if (shuffled_) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[Random(i)]);
  }

  size_t next = 0;
  while (true) {
    for (size_t b = 0; b < running_; ++b) {
      if (!blocks_[b].running && next < order.size()) StartBlock(blocks_[b], order[next++]);
    }
    ThreadState* first = TakeReady();
    if (first == nullptr) break;
    Fiber::Switch(main_, first->fiber);  // returns when a block ended, nobody is ready, or a thread faulted
    if (!fault_.empty()) break;
  }
  running_thread = nullptr;
  mail_.DeliverAll();
  if (fault_.empty()) fault_ = Stuck();
  if (fault_.empty()) return {};
  return Internal("kernel {}: {}", entry.name, fault_);
}

void Grid::StartBlock(BlockState& block, int index) {
  const Launch& l = *launch_;
  block.x = index % l.grid_x;
  block.y = index / l.grid_x % l.grid_y;
  block.z = index / l.grid_x / l.grid_y;
  block.threads = l.threads;
  block.arrived = block.done = 0;
  std::ranges::fill(block.some_arrived, 0);
  block.bars.Reset();
  block.rank = index % entry_->cluster;
  block.cluster = clusters_.empty() ? nullptr : &clusters_[static_cast<size_t>(index / entry_->cluster)];
  if (block.cluster != nullptr) block.cluster->block[block.rank] = &block;
  block.order = block.cluster != nullptr ? &block.cluster->order : &block.own_order;
  if (block.cluster == nullptr) block.own_order.Reset(check_races_ ? l.threads / lanes_ : 0);
  block.running = true;
  block.shared.Reset(l.shared_bytes, check_races_);
  for (int g = 0; g < l.threads / lanes_; ++g) block.group[g].arrived = 0;
  // Backwards, as the last one made ready runs first.
  for (int i = l.threads - 1; i >= 0; --i) {
    ThreadState& t = block.thread[i];
    t.thread = i;
    t.lane = i % lanes_;
    t.waiting = Meeting::kNone;
    t.products.clear();
    t.batches = 0;
    t.done = false;
    t.block = &block;
    t.group = &block.group[i / lanes_];
    t.fiber.Start(block.stacks.Stack(static_cast<size_t>(i)), static_cast<size_t>(i) % kStackShifts * kStackShift,
                  &Grid::Enter, &t);
    MakeReady(&t);
  }
}

void Grid::Enter(void* thread) {
  ThreadState& self = *static_cast<ThreadState*>(thread);
  running_thread = &self;
  BlockState& block = *self.block;
  Grid& grid = *block.grid;
  grid.entry_->run(grid.launch_->args.data());
  self.done = true;
  block.running = ++block.done < block.threads;
  ThreadState* next = block.running ? grid.TakeReady() : nullptr;
  Fiber::Leave(self.fiber, next != nullptr ? next->fiber : grid.main_);
}

// Multiplies a Weyl sequence twice: enough to try orders, and cheap.
size_t Grid::Random(size_t below) {
  random_ += 0x9e3779b97f4a7c15u;
  uint64_t z = random_;
  z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
  z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
  return static_cast<size_t>((z >> 32) * below >> 32);
}

void Grid::MeetBlock(ThreadState& self) {
  BlockState& block = *self.block;
  self.waiting = Meeting::kBarrier;
  if (++block.arrived == block.threads) {
    FinishBlock(self);
    if (!shuffled_) return;
  }
  Suspend(self);
}

void Grid::FinishBlock(ThreadState& self) {
  BlockState& block = *self.block;
  block.arrived = 0;
  if (check_races_) {
    std::vector<int> all(static_cast<size_t>(block.threads / lanes_));
    std::iota(all.begin(), all.end(), FirstGroup(block));
    block.order->Meet(all);
  }
  Free(block, self);
}

void Grid::Free(BlockState& block, const ThreadState& self) {
  for (int i = block.threads - 1; i >= 0; --i) {
    block.thread[i].waiting = Meeting::kNone;
    if (&block.thread[i] != &self || shuffled_) MakeReady(&block.thread[i]);
  }
}

void Grid::MeetCluster(ThreadState& self) {
  if (self.block->cluster == nullptr) return MeetBlock(self);
  Cluster& cluster = *self.block->cluster;
  const int blocks = entry_->cluster, threads = self.block->threads;
  self.waiting = Meeting::kCluster;
  if (++cluster.arrived == blocks * threads) {
    cluster.arrived = 0;
    if (check_races_) {
      std::vector<int> all(static_cast<size_t>(blocks * threads / lanes_));
      std::iota(all.begin(), all.end(), 0);
      cluster.order.Meet(all);
    }
    for (int b = blocks - 1; b >= 0; --b) Free(*cluster.block[b], self);
    progress_ = true;
    if (!shuffled_) return;
  }
  Suspend(self);
}

void Grid::MeetSome(ThreadState& self, int threads, int number) {
  BlockState& block = *self.block;
  self.waiting = Meeting::kSomeBarrier;
  self.number = number;
  if (++block.some_arrived[number] == threads) {
    block.some_arrived[number] = 0;
    std::vector<int> met;
    for (int i = block.threads - 1; i >= 0; --i) {
      if (block.thread[i].waiting != Meeting::kSomeBarrier || block.thread[i].number != number) continue;
      block.thread[i].waiting = Meeting::kNone;
      const int group = FirstGroup(block) + i / lanes_;
      if (met.empty() || met.back() != group) met.push_back(group);
      if (i != self.thread || shuffled_) MakeReady(&block.thread[i]);
    }
    if (check_races_) block.order->Meet(met);
    progress_ = true;
    if (!shuffled_) return;
  }
  Suspend(self);
}

void Grid::ArriveBar(ThreadState& self, int bar) {
  self.block->bars.Arrive(bar, GroupOf(self), *self.block->order);
  progress_ = true;
}

void Grid::ArriveBarOf(ThreadState& self, int rank, int bar) {
  self.block->cluster->block[rank]->bars.Arrive(bar, GroupOf(self), *self.block->order);
  progress_ = true;
}

void Grid::ExpectBar(ThreadState& self, int bar, int bytes) {
  self.block->bars.Expect(bar, bytes, GroupOf(self), *self.block->order);
  progress_ = true;
}

void Grid::PassBar(ThreadState& self, int bar) {
  if (check_races_) self.block->order->Take(GroupOf(self), self.block->bars.Known(bar));
}

void Grid::Pause(ThreadState& self) {
  if (!launch_->together) Fault(self, "waits for other blocks, which need not run at the same time");
  self.waiting = Meeting::kPause;
  paused_.push_back(&self);
  Suspend(self);
  self.waiting = Meeting::kNone;
}

bool Grid::WakePaused() {
  if (paused_.empty()) return false;
  if (!mail_.empty()) {
    DeliverSome();
  } else if (!progress_) {
    return false;
  }
  progress_ = false;
  for (ThreadState* thread : paused_) MakeReady(thread);
  paused_.clear();
  return true;
}

void Grid::DeliverSome() {
  do {
    mail_.Deliver(Random(1 << 20));
  } while (!mail_.empty() && Random(4) != 0);
  progress_ = true;
}

void Grid::StoreLater(void* address, uint64_t word) {
  mail_.Add(address, word);
  shuffled_ ? (Random(2) == 0 ? DeliverSome() : void()) : mail_.DeliverAll();
  progress_ = true;
}

void Grid::CopyLater(ThreadState& self, int bar, int to, const void* from, int bytes) {
  if (!memory_->Contains(from, static_cast<size_t>(bytes), GlobalMemory::kReadOnce)) {
    Fault(self, fmt::format("a copy of {} bytes from {}, outside every buffer", bytes, from));
  }
  CopyTo(self, {self.block, bar, to, bytes, from, {}});
}

void Grid::CopyBoxLater(ThreadState& self, int bar, int to, const Mail::Box& box, int blocks) {
  const unimax::MatrixShape& m = box.matrix;
  const int rows = std::min(m.box_rows, m.rows - box.row), cols = std::min(Mail::Box::kRow, m.cols - box.column);
  const auto* first = static_cast<const uint16_t*>(m.first) + int64_t{box.row} * m.stride + box.column;
  const auto bytes = static_cast<size_t>(int64_t{rows - 1} * m.stride + cols) * sizeof(*first);
  if (box.row < 0 || box.column < 0 || rows < 1 || cols < 1 || to % Mail::Box::kBorder != 0 ||
      !memory_->Contains(first, bytes, GlobalMemory::kReadOnce)) {
    Fault(self, fmt::format("a box from row {}, column {} of {} x {} elements at {} to shared offset {}", box.row,
                            box.column, m.rows, m.cols, m.first, to));
  }
  for (int rank = 0; rank < entry_->cluster; ++rank) {
    if ((blocks >> rank & 1) == 0) continue;
    BlockState* block = self.block->cluster == nullptr ? self.block : self.block->cluster->block[rank];
    CopyTo(self, {block, bar, to, m.box_rows * Mail::Box::kRowBytes, m.first, box});
  }
}

void Grid::CopyTo(ThreadState& self, const Mail::Copy& copy) {
  if (copy.to < 0 || copy.to + copy.bytes > launch_->shared_bytes || copy.to % 16 != 0 || copy.bytes % 16 != 0) {
    Fault(self,
          fmt::format("a copy of {} bytes to shared offset {} of {}", copy.bytes, copy.to, launch_->shared_bytes));
  }
  std::string wrong = copy.block->shared.Check(static_cast<uint64_t>(copy.to), static_cast<uint64_t>(copy.bytes),
                                               Touch::kWrite, WhoIs(self), *self.block->order);
  if (!wrong.empty()) Fault(self, std::move(wrong));
  mail_.Add(copy);
  if (!shuffled_) mail_.DeliverAll();
  progress_ = true;
}

void Grid::Meet(ThreadState& self, Meeting meeting) {
  GroupState& group = *self.group;
  if (group.arrived == 0) {
    group.meeting = meeting;
  } else if (group.meeting != meeting) [[unlikely]] {
    FaultMeeting(self, meeting);
  }
  self.waiting = meeting;
  if (++group.arrived == lanes_) {
    Finish(self);
    if (!shuffled_) return;
  }
  Suspend(self);
}

void Grid::FaultMeeting(const ThreadState& self, Meeting meeting) {
  Fault(self, fmt::format("group {}: lane {} is at {} while others wait at {}", self.thread / lanes_, self.lane,
                          Name(meeting), Name(self.group->meeting)));
}

void Grid::Finish(ThreadState& self) {
  GroupState& group = *self.group;
  switch (group.meeting) {
    case Meeting::kGroupSync:
      self.block->order->Sync(GroupOf(self));
      break;
    case Meeting::kShuffle:
      for (int i = 0; i < lanes_; ++i) group.result[i] = group.value[group.source[i]];
      break;
    case Meeting::kSum:
      Butterfly<float>(group, lanes_, [](float a, float b) { return a + b; });
      break;
    case Meeting::kSumInt:
      Butterfly<uint32_t>(group, lanes_, [](uint32_t a, uint32_t b) { return a + b; });
      break;
    // The number wins over NaN, as in the hardware's instructions.
    case Meeting::kMax:
      Butterfly<float>(group, lanes_, [](float a, float b) { return a > b || b != b ? a : b; });
      break;
    case Meeting::kMaxInt:
      Butterfly<int32_t>(group, lanes_, [](int32_t a, int32_t b) { return a > b ? a : b; });
      break;
    case Meeting::kMmaBF16:
      MultiplyGroup(MatrixType::kBF16, group.matrix);
      break;
    case Meeting::kMmaF16:
      MultiplyGroup(MatrixType::kF16, group.matrix);
      break;
    case Meeting::kMmaI8:
      MultiplyGroup(MatrixType::kI8, group.matrix);
      break;
    case Meeting::kNone:
    case Meeting::kPause:
    case Meeting::kSomeBarrier:
    case Meeting::kCluster:
    case Meeting::kBarrier:
      break;
  }
  group.arrived = 0;
  ThreadState* lanes = &self - self.lane;
  for (int i = lanes_ - 1; i >= 0; --i) {
    lanes[i].waiting = Meeting::kNone;
    if (i != self.lane || shuffled_) MakeReady(&lanes[i]);
  }
}

std::string Grid::Where(const BlockState& block) const {
  return fmt::format("block ({}, {}, {})", block.x, block.y, block.z);
}

void Grid::Fault(const ThreadState& self, std::string what) {
  fault_ = fmt::format("{}: {}", Where(*self.block), what);
  std::string().swap(what);  // the fiber's frames are never left, so nothing on them may own memory
  Fiber::Leave(running_thread->fiber, main_);
}

std::string Grid::Stuck() const {
  for (const BlockState& block : blocks_) {
    if (!block.running) continue;
    const ThreadState* threads = block.thread.get();
    for (int i = 0; i < block.threads; ++i) {
      if (threads[i].waiting != Meeting::kPause) continue;
      return fmt::format("{}: thread {} waits for a word or a copy that never comes", Where(block), i);
    }
    // A meeting of a group that some lane never reached explains a barrier that was not reached, not the reverse.
    for (int i = 0; i < block.threads; ++i) {
      const ThreadState& t = threads[i];
      if (t.waiting < Meeting::kGroupSync) continue;
      for (int other = i - t.lane; other < i - t.lane + lanes_; ++other) {
        if (threads[other].waiting == t.waiting) continue;
        return fmt::format("{}: {} not reached by all lanes of group {}: lane {} waits there, lane {} {}{}",
                           Where(block), Name(t.waiting), i / lanes_, t.lane, threads[other].lane,
                           threads[other].done ? "has ended" : "is at ",
                           threads[other].done ? "" : Name(threads[other].waiting));
      }
    }
    int waits = 0, ended = 0;
    const auto meets = [](Meeting m) { return m == Meeting::kBarrier || m == Meeting::kCluster; };
    while (waits < block.threads - 1 && !meets(threads[waits].waiting)) ++waits;
    while (ended < block.threads - 1 && !threads[ended].done) ++ended;
    return fmt::format("{}: barrier not reached by all threads: thread {} waits there, thread {} has ended",
                       Where(block), waits, ended);
  }
  return {};
}

void CheckGlobalSlow(const void* address, unsigned bytes, GlobalMemory::Use use) {
  ThreadState& self = Self();
  const char* act = use == GlobalMemory::kWrite ? "writes" : "reads";
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    self.block->grid->Fault(
        self, fmt::format("thread {} {} {} bytes at {}, which is not aligned", self.thread, act, bytes, address));
  }
  self.block->grid->Fault(
      self, fmt::format("thread {} {} {} bytes at {}, outside every buffer", self.thread, act, bytes, address));
}

std::byte* CheckShared(uint64_t offset, unsigned bytes, Touch touch) {
  ThreadState& self = Self();
  BlockState& block = *self.block;
  if (offset % bytes != 0) {
    block.grid->Fault(self, fmt::format("thread {} touches {} bytes at shared offset {}, which is not aligned",
                                        self.thread, bytes, static_cast<int64_t>(offset)));
  }
  std::string wrong = block.shared.Check(offset, bytes, touch, block.grid->WhoIs(self), *block.order);
  if (!wrong.empty()) block.grid->Fault(self, std::move(wrong));
  return block.shared.data() + offset;
}

}  // namespace unimax::emulator
