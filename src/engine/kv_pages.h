// SPDX-License-Identifier: Apache-2.0
// The pages of the KV pool, by number: who holds them, and which full ones can serve again as a prefix.
// A page is always in exactly one place: free, held (one or more references) or idle (no reference, but cached). An
// idle page keeps its content until a page is wanted and none is free; then the one idle longest is taken.
// All calls are O(1) and allocate nothing after construction. One thread.
// Sources: PagedAttention (arXiv 2309.06180): pages, references, sharing. Only full pages are shared and nobody writes
// into a full page, so copy-on-write is not needed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/page_key.h"

namespace unimax {

// What a cached page holds. `parent` names the content of the page before it: the serial that Publish gave, or at
// position 0 the number of the scope (below 2^32). Key, parent and ids are all compared, so that even a hash that
// collides never gives one prefix the page of another.
struct PageContent {
  PageKey key;
  uint64_t parent = 0;
  std::span<const int> ids;  // [page_tokens]
};

struct PageCounts {
  int free = 0, held = 0, idle = 0;  // sum: the pool
};

class KvPages {
 public:
  KvPages(int pages, int page_tokens);

  // A page with one reference and no content: a free one, else the one idle longest. -1: all are held.
  int Take();
  // One more holder of a held or idle page.
  void Share(int page);
  // One holder less. After the last one a cached page becomes idle, another one free. Release the pages of a sequence
  // from its end, so that of a prefix the tail is evicted first.
  void Release(int page);

  // The page with this content, or -1. Takes no reference.
  int Find(const PageContent& content);
  // Makes the held, full page findable unless its content already is. Returns the serial of that content, to be the
  // parent of the next page's. An older content with the same key but other parent or ids is forgotten.
  uint64_t Publish(int page, const PageContent& content);
  uint64_t serial(int page) const { return at(page).serial; }  // 0: not cached

  int size() const { return static_cast<int>(pages_.size()); }
  int page_tokens() const { return page_tokens_; }
  int references(int page) const { return at(page).references; }
  int available() const { return static_cast<int>(free_.size()) + idle_; }  // what Take can give
  PageCounts counts() const;
  uint64_t evictions() const { return evictions_; }
  uint64_t collisions() const { return collisions_; }  // equal keys of different contents that were met

  // Whether the lists, the table and the counts agree. O(pages): for tests and for the engine when idle.
  bool Consistent() const;

 private:
  struct Page {
    int references = 0;
    int older = -1, younger = -1;  // neighbours in the list of idle pages
    int next = -1, previous = -1;  // neighbours in the bucket of the table
    uint64_t serial = 0;           // 0: no content
    uint64_t parent = 0;
    PageKey key;
  };

  Page& at(int page) { return pages_[static_cast<size_t>(page)]; }
  const Page& at(int page) const { return pages_[static_cast<size_t>(page)]; }
  int& Bucket(const PageKey& key) { return table_[key.head() & (table_.size() - 1)]; }
  std::span<int> Ids(int page);
  int FindKey(const PageKey& key);
  bool Holds(int page, const PageContent& content);
  void Forget(int page);  // drops the content; the page stays where it is
  void PushIdle(int page);
  void RemoveIdle(int page);

  std::vector<Page> pages_;
  std::vector<int> ids_;    // [pages, page_tokens] ids of cached pages
  std::vector<int> free_;   // a stack
  std::vector<int> table_;  // first page of each bucket, or -1; a power of two
  int page_tokens_;
  int oldest_ = -1, youngest_ = -1;  // ends of the list of idle pages
  int idle_ = 0;
  uint64_t next_serial_ = uint64_t{1} << 32;
  uint64_t evictions_ = 0, collisions_ = 0;
};

}  // namespace unimax
