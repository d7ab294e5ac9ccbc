// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_pages.h"

#include <gtest/gtest.h>

#include <list>
#include <map>
#include <set>

#include "sim/simulation.h"

namespace unimax {
namespace {

using sim::CutHasher;
using sim::Random;

// What KvPages promises, said with containers: who holds each page, what it holds, in which order idle ones go.
struct Model {
  struct Page {
    int references = 0;
    std::optional<PageKey> key;
    uint64_t parent = 0, serial = 0;
    std::vector<int> ids;
  };
  std::vector<Page> pages;
  std::list<int> idle;  // oldest first
  std::set<int> free;

  explicit Model(int count) : pages(static_cast<size_t>(count)) {
    for (int page = 0; page < count; ++page) free.insert(page);
  }
  Page& at(int page) { return pages[static_cast<size_t>(page)]; }
  bool MayTake(int page) {  // a free one; else the oldest idle one; else none
    if (free.empty() && idle.empty()) return page == -1;
    if (!free.empty() ? free.erase(page) == 0 : idle.front() != page) return false;
    idle.remove(page);
    at(page) = Page{};
    at(page).references = 1;
    return true;
  }
  void Share(int page) {
    if (at(page).references++ == 0) idle.remove(page);
  }
  void Release(int page) {
    if (--at(page).references > 0) return;
    at(page).key ? idle.push_back(page) : static_cast<void>(free.insert(page));
  }
  int Find(const PageContent& c) {
    for (size_t i = 0; i < pages.size(); ++i) {
      const Page& p = pages[i];
      if (p.key == c.key && p.parent == c.parent && std::ranges::equal(p.ids, c.ids)) return static_cast<int>(i);
    }
    return -1;
  }
  void Publish(int page, const PageContent& c, uint64_t serial) {
    if (Find(c) >= 0) return;
    for (size_t i = 0; i < pages.size(); ++i) {
      if (pages[i].key != c.key) continue;
      pages[i].key.reset();
      if (pages[i].references > 0) continue;
      idle.remove(static_cast<int>(i));
      free.insert(static_cast<int>(i));
    }
    at(page).key = c.key;
    at(page).parent = c.parent;
    at(page).serial = serial;
    at(page).ids.assign(c.ids.begin(), c.ids.end());
  }
};

TEST(KvPages, EqualsItsModel) {
  constexpr int kPages = 24, kOperations = 1'000'000;
  KvPages pages(kPages, 2);
  Model model(kPages);
  CutHasher hasher(6);  // 64 keys for 900 contents: collisions are common
  Random random(6);
  int mismatches = 0, found = 0;
  for (int i = 0; i < kOperations && mismatches == 0; ++i) {
    const int page = random.Upto(kPages - 1);
    const std::vector<int> ids = {random.Upto(29), random.Upto(9)};
    const uint64_t parent = static_cast<uint64_t>(random.Between(1, 3));
    const PageContent content{hasher.Next(PageKey{}, ids), parent, ids};
    const bool held = model.at(page).references > 0;
    switch (random.Upto(6)) {
      case 0:
        mismatches += !model.MayTake(pages.Take());
        break;
      case 1:
      case 2:
        if (held) pages.Release(page), model.Release(page);
        break;
      case 3:
        if (held || model.at(page).key) pages.Share(page), model.Share(page);
        break;
      case 4:
        if (held && !model.at(page).key) model.Publish(page, content, pages.Publish(page, content));
        break;
      default:
        mismatches += pages.Find(content) != model.Find(content);
        found += model.Find(content) >= 0;
    }
    mismatches += pages.available() != static_cast<int>(model.free.size() + model.idle.size());
    mismatches += pages.references(page) != model.at(page).references;
    mismatches += (pages.serial(page) != 0) != model.at(page).key.has_value();
    if (i % 100 == 0) mismatches += !pages.Consistent();
  }
  std::printf("K06 operations=%d found=%d evictions=%llu mismatch=%d %s\n", kOperations, found,
              static_cast<unsigned long long>(pages.evictions()), mismatches, mismatches == 0 ? "PASS" : "FAIL");
  EXPECT_EQ(mismatches, 0);
  EXPECT_GT(found, 1000);
  EXPECT_GT(pages.evictions(), 1000u);
}

// With a hash of 8 bits nearly every look-up meets another prefix under its key; none may be taken for its own.
TEST(KvPages, DifferentPrefixesNeverShare) {
  KvPages pages(512, 4);
  CutHasher hasher(8);
  Random random(7);
  std::map<int, std::vector<int>> holds;  // page -> scope and all ids up to its end
  int false_hits = 0, hits = 0;
  for (int i = 0; i < 40'000; ++i) {
    PrefixScope scope;
    scope.name_space = std::to_string(random.Upto(1));
    PageKey key = hasher.Root(scope);
    std::vector<int> prefix = {scope.name_space == "0" ? 1 : 2};
    uint64_t parent = static_cast<uint64_t>(prefix[0]);
    std::vector<int> held;
    for (int depth = 0; depth < 5; ++depth) {
      const std::vector<int> ids = {random.Upto(2), random.Upto(2), 0, depth};
      prefix.insert(prefix.end(), ids.begin(), ids.end());
      key = hasher.Next(key, ids);
      const PageContent content{key, parent, ids};
      int page = pages.Find(content);
      if (page >= 0) {
        ++hits;
        false_hits += holds[page] != prefix;
        pages.Share(page);
        parent = pages.serial(page);
      } else {
        page = pages.Take();
        parent = pages.Publish(page, content);
        holds[page] = prefix;
      }
      held.push_back(page);
    }
    for (auto page = held.rbegin(); page != held.rend(); ++page) pages.Release(*page);
  }
  const bool good = false_hits == 0 && pages.collisions() > 1000;
  std::printf("K07 hits=%d false_hits=%d collisions=%llu %s\n", hits, false_hits,
              static_cast<unsigned long long>(pages.collisions()), good ? "PASS" : "FAIL");
  EXPECT_EQ(false_hits, 0);
  EXPECT_GT(pages.collisions(), 1000u);
  EXPECT_GT(hits, 1000);
}

TEST(PageKey, IsTheSha256ChainOfParentAndIds) {
  const auto hasher = MakeSha256Hasher();
  const std::vector<int> ids = {1, 2, 3};
  // sha256 of 32 zero bytes and three little-endian 32-bit integers.
  const std::array<uint8_t, 32> expected = {0x3d, 0xb3, 0x46, 0xa4, 0x00, 0xab, 0x6b, 0x8d, 0xb7, 0x92, 0xfc,
                                            0xf1, 0x56, 0x44, 0x3a, 0x88, 0x85, 0xb2, 0x7d, 0xb2, 0x08, 0x36,
                                            0x2d, 0xcf, 0x77, 0x08, 0x4f, 0x8c, 0x76, 0x48, 0xe6, 0x45};
  EXPECT_EQ(hasher->Next(PageKey{}, ids).bytes, expected);
}

TEST(PageKey, EveryPartOfTheScopeCounts) {
  const auto hasher = MakeSha256Hasher();
  PrefixScope scope{"model", "bf16", 32, "", "tenant", ""};
  std::set<std::array<uint8_t, 32>> keys = {hasher->Root(scope).bytes};
  const auto with = [&](auto member, auto value) {
    PrefixScope other = scope;
    other.*member = value;
    keys.insert(hasher->Root(other).bytes);
  };
  with(&PrefixScope::model_digest, "other");
  with(&PrefixScope::kv_type, "f32");
  with(&PrefixScope::page_tokens, 16);
  with(&PrefixScope::adapter, "a");
  with(&PrefixScope::name_space, "b");
  with(&PrefixScope::sum_order, "s");
  EXPECT_EQ(keys.size(), 7u);
  // Parts do not run into each other.
  PrefixScope one = scope, two = scope;
  one.adapter = "ab", one.name_space = "c";
  two.adapter = "a", two.name_space = "bc";
  EXPECT_NE(hasher->Root(one), hasher->Root(two));
}

}  // namespace
}  // namespace unimax
