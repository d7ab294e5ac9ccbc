// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_pages.h"

#include <algorithm>
#include <bit>

#include "base/status.h"

namespace unimax {

KvPages::KvPages(int pages, int page_tokens)
    : pages_(static_cast<size_t>(pages)),
      ids_(static_cast<size_t>(pages) * static_cast<size_t>(page_tokens)),
      table_(std::bit_ceil(2 * static_cast<size_t>(pages)), -1),
      page_tokens_(page_tokens) {
  UM_CHECK(pages > 0 && page_tokens > 0);
  free_.reserve(pages_.size());
  for (int page = pages - 1; page >= 0; --page) free_.push_back(page);
}

int KvPages::Take() {
  int page;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else if (oldest_ >= 0) {
    page = oldest_;
    RemoveIdle(page);
    Forget(page);
    ++evictions_;
  } else {
    return -1;
  }
  at(page).references = 1;
  return page;
}

void KvPages::Share(int page) {
  Page& p = at(page);
  if (p.references == 0) {
    UM_CHECK(p.serial != 0);  // a free page has no content to share
    RemoveIdle(page);
  }
  ++p.references;
}

void KvPages::Release(int page) {
  Page& p = at(page);
  UM_CHECK(p.references > 0);
  if (--p.references > 0) return;
  if (p.serial != 0) {
    PushIdle(page);
  } else {
    free_.push_back(page);
  }
}

int KvPages::Find(const PageContent& content) {
  const int page = FindKey(content.key);
  if (page < 0) return -1;
  if (Holds(page, content)) return page;
  ++collisions_;
  return -1;
}

uint64_t KvPages::Publish(int page, const PageContent& content) {
  UM_CHECK(at(page).references > 0 && at(page).serial == 0);
  if (const int twin = FindKey(content.key); twin >= 0) {
    if (Holds(twin, content)) return at(twin).serial;
    ++collisions_;
    Forget(twin);
    if (at(twin).references == 0) {
      RemoveIdle(twin);
      free_.push_back(twin);
    }
  }
  Page& p = at(page);
  p.serial = next_serial_++;
  p.parent = content.parent;
  p.key = content.key;
  std::ranges::copy(content.ids, Ids(page).begin());
  int& first = Bucket(p.key);
  p.next = first;
  p.previous = -1;
  if (first >= 0) at(first).previous = page;
  first = page;
  return p.serial;
}

PageCounts KvPages::counts() const {
  const int free = static_cast<int>(free_.size());
  return {free, size() - free - idle_, idle_};
}

std::span<int> KvPages::Ids(int page) {
  const size_t tokens = static_cast<size_t>(page_tokens_);
  return {ids_.data() + static_cast<size_t>(page) * tokens, tokens};
}

int KvPages::FindKey(const PageKey& key) {
  int page = Bucket(key);
  while (page >= 0 && at(page).key != key) page = at(page).next;
  return page;
}

bool KvPages::Holds(int page, const PageContent& content) {
  return at(page).parent == content.parent && std::ranges::equal(Ids(page), content.ids);
}

void KvPages::Forget(int page) {
  Page& p = at(page);
  (p.previous >= 0 ? at(p.previous).next : Bucket(p.key)) = p.next;
  if (p.next >= 0) at(p.next).previous = p.previous;
  p.next = p.previous = -1;
  p.serial = 0;
}

void KvPages::PushIdle(int page) {
  Page& p = at(page);
  p.older = youngest_;
  p.younger = -1;
  (youngest_ >= 0 ? at(youngest_).younger : oldest_) = page;
  youngest_ = page;
  ++idle_;
}

void KvPages::RemoveIdle(int page) {
  Page& p = at(page);
  (p.older >= 0 ? at(p.older).younger : oldest_) = p.younger;
  (p.younger >= 0 ? at(p.younger).older : youngest_) = p.older;
  p.older = p.younger = -1;
  --idle_;
}

bool KvPages::Consistent() const {
  int listed = 0, cached = 0, found = 0;
  for (int page = oldest_, older = -1; page >= 0; older = page, page = at(page).younger) {
    if (at(page).references != 0 || at(page).serial == 0 || at(page).older != older || ++listed > size()) return false;
  }
  for (int page : free_) {
    if (at(page).references != 0 || at(page).serial != 0) return false;
  }
  int unheld = 0;
  for (const Page& p : pages_) {
    if (p.references < 0) return false;
    unheld += p.references == 0;
    cached += p.serial != 0;
  }
  for (const int first : table_) {
    for (int page = first; page >= 0; page = at(page).next) {
      if (at(page).serial == 0 || ++found > size()) return false;
    }
  }
  return listed == idle_ && found == cached && unheld == static_cast<int>(free_.size()) + idle_;
}

}  // namespace unimax
