// SPDX-License-Identifier: Apache-2.0
// The order of many names. Sorting, unlike a hash table, takes the same time whatever the names are; their first bytes
// lie beside the indices, so that few comparisons go out to the names themselves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace unimax {

// Indices 0..n-1 by `name_of(index)`; of equal names the smaller index first.
template <class NameOf>
std::vector<uint32_t> OrderByName(size_t n, NameOf&& name_of) {
  if (n == 0) return {};
  const std::string_view first = name_of(0);
  size_t common = first.size();  // bytes with which all names begin
  for (size_t i = 1; i < n && common > 0; ++i) {
    const std::string_view name = name_of(i);
    const auto end = first.begin() + static_cast<ptrdiff_t>(std::min(common, name.size()));
    common = static_cast<size_t>(std::mismatch(first.begin(), end, name.begin()).first - first.begin());
  }
  struct Entry {
    uint64_t head;  // the next eight bytes, as a number that sorts as they do; zeros behind a name's end
    uint32_t index;
  };
  std::vector<Entry> entries(n);
  for (size_t i = 0; i < n; ++i) {
    const std::string_view rest = name_of(i).substr(common);
    uint64_t head = 0;
    for (size_t b = 0; b < 8; ++b) head = (head << 8) | (b < rest.size() ? static_cast<uint8_t>(rest[b]) : 0);
    entries[i] = {head, static_cast<uint32_t>(i)};
  }
  std::sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (a.head != b.head) return a.head < b.head;
    const int compared = name_of(a.index).compare(name_of(b.index));
    return compared != 0 ? compared < 0 : a.index < b.index;
  });
  std::vector<uint32_t> order(n);
  std::transform(entries.begin(), entries.end(), order.begin(), [](const Entry& e) { return e.index; });
  return order;
}

}  // namespace unimax
