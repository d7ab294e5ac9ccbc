// SPDX-License-Identifier: Apache-2.0
// Filters on lists and mappings.
#include <algorithm>

#include "text/jinja_interp.h"
#include "text/jinja_text_tools.h"
#include "text/utf8.h"

namespace unimax::jinja {
namespace {

using In = Interpreter;

// What a value sorts by: strings in lower case unless `exact`.
Value KeyOf(In& in, const Value& v, bool exact) { return v.Is(Kind::kText) && !exact ? in.Str(LowerOf(v.text())) : v; }

Result<Value> Length(In& in, const Value& self, const Args&) {
  switch (self.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      return Value::Integer(0);
    case Kind::kText:
      return Value::Integer(static_cast<Int>(utf8::Length(self.bytes())));
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDictView:
      return Value::Integer(static_cast<Int>(self.list().items.size()));
    case Kind::kDict:
      return Value::Integer(static_cast<Int>(self.dict().items.size()));
    case Kind::kLoop:
      return Value::Integer(static_cast<Int>(static_cast<LoopObject*>(self.o)->items.size()));
    default:
      return in.Error(fmt::format("object of type '{}' has no len()", TypeName(self)));
  }
}

Result<Value> First(In& in, const Value& self, const Args&) {
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  return items.empty() ? Value() : items.front();
}
Result<Value> Last(In& in, const Value& self, const Args&) {
  if (self.Is(Kind::kGenerator)) return in.Error("'generator' object is not reversible");
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  return items.empty() ? Value() : items.back();
}

Result<Value> Join(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"d", "attribute"}, 0));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  const Text separator = a[0].IsMissing() ? Text() : ToText(a[0]);
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    Value v = items[i];
    if (!a[1].IsMissing() && !a[1].Is(Kind::kNone)) {
      UM_ASSIGN_OR_RETURN(v, in.Path(v, a[1]));
    }
    UM_RETURN_IF_ERROR(in.Walk(v));
    const Text part = ToText(v);
    UM_RETURN_IF_ERROR(in.Charge(part.size() + separator.size()));
    if (i > 0) out.Append(separator);
    out.Append(part);
  }
  return in.Str(std::move(out));
}

Result<Value> Sum(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"attribute", "start"}, 0));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  Value total = a[1].IsMissing() ? Value::Integer(0) : a[1];
  for (Value v : items) {
    if (!a[0].IsMissing() && !a[0].Is(Kind::kNone)) {
      UM_ASSIGN_OR_RETURN(v, in.Path(v, a[0]));
    }
    UM_ASSIGN_OR_RETURN(total, in.Binary(Op::kAdd, total, v));
  }
  return total;
}

Result<Value> Extreme(In& in, const Value& self, const Args& args, bool largest) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"case_sensitive", "attribute"}, 0));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  Value best;
  Value best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    Value key = items[i];
    if (!a[1].IsMissing() && !a[1].Is(Kind::kNone)) {
      UM_ASSIGN_OR_RETURN(key, in.Path(key, a[1]));
    }
    key = KeyOf(in, key, Truthy(a[0]));
    bool better = i == 0;
    if (i > 0) {
      UM_ASSIGN_OR_RETURN(better, in.Compare(largest ? Cmp::kGt : Cmp::kLt, key, best_key));
    }
    if (better) {
      best = items[i];
      best_key = key;
    }
  }
  return best;
}
Result<Value> Max(In& in, const Value& self, const Args& args) { return Extreme(in, self, args, true); }
Result<Value> Min(In& in, const Value& self, const Args& args) { return Extreme(in, self, args, false); }

// Sorts `items` by `keys` (as long), keeping the order of equal ones.
Result<std::vector<Value>> SortBy(In& in, const std::vector<Value>& items, const std::vector<Value>& keys,
                                  bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (const Value& key : keys) UM_RETURN_IF_ERROR(in.Walk(key));
  // Keys that cannot be ordered count as equal while sorting; the error comes after.
  bool unordered = false;
  int64_t compared = 0;
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    ++compared;
    const auto less = reverse ? Less(keys[y], keys[x]) : Less(keys[x], keys[y]);
    unordered |= !less.has_value();
    return less.value_or(false);
  });
  UM_RETURN_IF_ERROR(in.Step(compared));
  if (unordered) return in.Error("the values to sort cannot be ordered");
  std::vector<Value> out;
  out.reserve(items.size());
  for (size_t i : order) out.push_back(items[i]);
  return out;
}

Result<Value> Sort(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"reverse", "case_sensitive", "attribute"}, 0));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  const bool exact = Truthy(a[1]);
  std::vector<Value> keys;
  for (const Value& item : items) {
    if (a[2].IsMissing() || a[2].Is(Kind::kNone)) {
      keys.push_back(KeyOf(in, item, exact));
    } else if (a[2].Is(Kind::kText)) {  // a list even of one, in which two that are undefined are equal
      std::vector<Value> parts;
      const std::string& names = a[2].bytes();
      for (size_t at = 0; at <= names.size();) {
        const size_t comma = std::min(names.find(',', at), names.size());
        UM_ASSIGN_OR_RETURN(const Value v, in.Path(item, in.heap().String(names.substr(at, comma - at))));
        parts.push_back(KeyOf(in, v, exact));
        at = comma + 1;
      }
      keys.push_back(in.heap().Tuple(std::move(parts)));
    } else {
      UM_ASSIGN_OR_RETURN(const Value v, in.Path(item, a[2]));
      keys.push_back(KeyOf(in, v, exact));
    }
  }
  UM_ASSIGN_OR_RETURN(auto sorted, SortBy(in, items, keys, Truthy(a[0])));
  return in.heap().List(std::move(sorted));
}

Result<Value> Reverse(In& in, const Value& self, const Args&) {
  if (self.Is(Kind::kText)) {
    return in.SliceOf(self, Value::None(), Value::None(), Value::Integer(-1));
  }
  UM_ASSIGN_OR_RETURN(auto items, in.Iterate(self));
  std::reverse(items.begin(), items.end());
  return in.heap().Generator(std::move(items));
}

Result<Value> List(In& in, const Value& self, const Args&) {
  UM_ASSIGN_OR_RETURN(auto items, in.Iterate(self));
  return in.heap().List(std::move(items));
}

Result<Value> Map(In& in, const Value& self, const Args& args) {
  if (!Truthy(self)) return in.heap().Generator({});
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  std::vector<Value> out;
  if (args.positional.empty()) {
    UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"attribute", "default"}, 1));
    for (const Value& item : items) {
      UM_ASSIGN_OR_RETURN(Value v, in.Path(item, a[0]));
      out.push_back(v.IsUndefined() && !a[1].IsMissing() ? a[1] : v);
    }
    return in.heap().Generator(std::move(out));
  }
  if (!args.positional[0].Is(Kind::kText)) return in.Error("map needs the name of a filter");
  Args rest;
  rest.positional.assign(args.positional.begin() + 1, args.positional.end());
  rest.named = args.named;
  for (const Value& item : items) {
    UM_ASSIGN_OR_RETURN(const Value v, in.Filter(args.positional[0].bytes(), item, rest));
    out.push_back(v);
  }
  return in.heap().Generator(std::move(out));
}

Result<Value> SelectWith(In& in, const Value& self, const Args& args, bool keep, bool by_attribute) {
  if (!Truthy(self)) return in.heap().Generator({});  // none, too
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  const size_t skip = by_attribute ? 1 : 0;
  if (args.positional.size() < skip) return in.Error("missing the name of an attribute");
  Args rest;
  if (args.positional.size() > skip + 1) {
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(skip + 1), args.positional.end());
  }
  rest.named = args.named;
  std::vector<Value> out;
  for (const Value& item : items) {
    Value subject = item;
    if (by_attribute) {
      UM_ASSIGN_OR_RETURN(subject, in.Path(item, args.positional[0]));
    }
    bool holds = Truthy(subject);
    if (args.positional.size() > skip) {
      const Value& name = args.positional[skip];
      if (!name.Is(Kind::kText)) return in.Error("expected the name of a test");
      UM_ASSIGN_OR_RETURN(holds, in.Test(name.bytes(), subject, rest));
    }
    if (holds == keep) out.push_back(item);
  }
  return in.heap().Generator(std::move(out));
}
Result<Value> Select(In& in, const Value& s, const Args& a) { return SelectWith(in, s, a, true, false); }
Result<Value> Reject(In& in, const Value& s, const Args& a) { return SelectWith(in, s, a, false, false); }
Result<Value> SelectAttr(In& in, const Value& s, const Args& a) { return SelectWith(in, s, a, true, true); }
Result<Value> RejectAttr(In& in, const Value& s, const Args& a) { return SelectWith(in, s, a, false, true); }

Result<Value> Unique(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"case_sensitive", "attribute"}, 0));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  const Value seen = in.heap().Dict();
  std::vector<Value> out;
  for (const Value& item : items) {
    Value key = item;
    if (!a[1].IsMissing() && !a[1].Is(Kind::kNone)) {
      UM_ASSIGN_OR_RETURN(key, in.Path(item, a[1]));
    }
    key = KeyOf(in, key, Truthy(a[0]));
    UM_RETURN_IF_ERROR(in.Walk(key));
    if (!HashKey(key)) return in.Error(fmt::format("unhashable type: '{}'", TypeName(key)));
    if (seen.dict().Find(key) != nullptr) continue;
    seen.dict().Set(key, Value::None());
    out.push_back(item);
  }
  return in.heap().Generator(std::move(out));
}

Result<Value> GroupBy(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"attribute", "default", "case_sensitive"}, 1));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  std::vector<Value> keys;
  for (const Value& item : items) {
    UM_ASSIGN_OR_RETURN(Value key, in.Path(item, a[0]));
    if (key.IsUndefined() && !a[1].IsMissing()) key = a[1];
    keys.push_back(key);
  }
  std::vector<Value> folded;
  for (const Value& key : keys) folded.push_back(KeyOf(in, key, Truthy(a[2])));
  std::vector<Value> places;
  for (size_t i = 0; i < items.size(); ++i) places.push_back(Value::Integer(static_cast<Int>(i)));
  UM_ASSIGN_OR_RETURN(const auto order, SortBy(in, places, folded, false));
  std::vector<Value> groups;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto at = static_cast<size_t>(order[i].i);
    const auto before = static_cast<size_t>(i > 0 ? order[i - 1].i : 0);
    if (i == 0 || !Equal(folded[at], folded[before])) {
      const Value group = in.heap().Tuple({keys[at], in.heap().List({})});
      group.list().grouped = true;
      groups.push_back(group);
    }
    ListObject& members = groups.back().list().items[1].list();
    members.items.push_back(items[at]);
    members.weight += 2 + WeightOf(items[at]);
    groups.back().list().weight += 2 + WeightOf(items[at]);
  }
  return in.heap().List(std::move(groups));
}

Result<Value> Items(In& in, const Value& self, const Args&) {
  if (self.IsUndefined()) return in.heap().Generator({});
  if (!self.Is(Kind::kDict)) return in.Error("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict().items) out.push_back(in.heap().Tuple({key, value}));
  return in.heap().Generator(std::move(out));
}

Result<Value> DictSort(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"case_sensitive", "by", "reverse"}, 0));
  if (!self.Is(Kind::kDict)) return in.Error("dictsort needs a mapping");
  const bool by_value = a[1].Is(Kind::kText) && a[1].bytes() == "value";
  if (!a[1].IsMissing() && !by_value && !(a[1].Is(Kind::kText) && a[1].bytes() == "key")) {
    return in.Error("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, value] : self.dict().items) {
    items.push_back(in.heap().Tuple({key, value}));
    keys.push_back(KeyOf(in, by_value ? value : key, Truthy(a[0])));
  }
  UM_ASSIGN_OR_RETURN(auto sorted, SortBy(in, items, keys, Truthy(a[2])));
  return in.heap().List(std::move(sorted));
}

Result<Value> Default(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"default_value", "boolean"}, 0));
  const Value fallback = a[0].IsMissing() ? in.heap().String("") : a[0];
  return self.IsUndefined() || (Truthy(a[1]) && !Truthy(self)) ? fallback : self;
}

Result<Value> Batch(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"linecount", "fill_with"}, 1));
  UM_ASSIGN_OR_RETURN(const Int count, in.IntOf(a[0]));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  if (count <= 0) return in.Error("batch needs a positive count");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (size_t i = 0; i < items.size(); ++i) {
    row.push_back(items[i]);
    if (static_cast<Int>(row.size()) < count && i + 1 < items.size()) continue;
    if (!a[1].IsMissing() && !a[1].Is(Kind::kNone) && static_cast<Int>(row.size()) < count) {
      UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(std::min(count, Int{1} << 40)) * sizeof(Value)));
      row.resize(static_cast<size_t>(count), a[1]);
    }
    rows.push_back(in.heap().List(std::exchange(row, {})));
  }
  return in.heap().Generator(std::move(rows));
}

Result<Value> Slice(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"slices", "fill_with"}, 1));
  UM_ASSIGN_OR_RETURN(const Int slices, in.IntOf(a[0]));
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  if (slices <= 0) return in.Error("slice needs a positive count");
  UM_RETURN_IF_ERROR(in.Charge(static_cast<size_t>(std::min(slices, Int{1} << 40)) * sizeof(Value)));
  const auto n = static_cast<size_t>(slices);
  const size_t each = items.size() / n;
  const size_t longer = items.size() % n;
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    const size_t take = each + (i < longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(at),
                            items.begin() + static_cast<ptrdiff_t>(at + take));
    if (!a[1].IsMissing() && !a[1].Is(Kind::kNone) && i >= longer) part.push_back(a[1]);
    out.push_back(in.heap().List(std::move(part)));
    at += take;
  }
  return in.heap().Generator(std::move(out));
}

Result<Value> Attr(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"name"}, 1));
  if (self.IsUndefined()) return in.Error("undefined has no attributes");
  const std::string name = ToText(a[0]).bytes();
  // Unlike the dot, the filter does not fall back to items.
  if (self.Is(Kind::kDict)) {
    for (const FilterRow& row : DictMethods()) {
      if (row.name == name) return in.Attribute(self, name);
    }
    return name.starts_with("__") ? in.Attribute(self, name) : Result<Value>(Value());
  }
  return in.Attribute(self, name);
}

Result<Value> Random(In& in, const Value& self, const Args&) {
  if (self.Is(Kind::kDict) && Truthy(self)) return in.Error("random needs a sequence");  // Python looks for key 0
  UM_ASSIGN_OR_RETURN(const auto items, in.Iterate(self));
  return items.empty() ? Value() : items[static_cast<size_t>(in.now()) % items.size()];
}

constexpr FilterRow kRows[] = {
    {"length", Length},
    {"count", Length},
    {"first", First},
    {"last", Last},
    {"join", Join},
    {"sum", Sum},
    {"max", Max},
    {"min", Min},
    {"sort", Sort},
    {"reverse", Reverse},
    {"list", List},
    {"map", Map},
    {"select", Select},
    {"reject", Reject},
    {"selectattr", SelectAttr},
    {"rejectattr", RejectAttr},
    {"unique", Unique},
    {"groupby", GroupBy},
    {"items", Items},
    {"dictsort", DictSort},
    {"default", Default},
    {"d", Default},
    {"batch", Batch},
    {"slice", Slice},
    {"attr", Attr},
    {"random", Random},
};

}  // namespace

std::span<const FilterRow> ListFilters() { return kRows; }

const FilterRow* FindFilter(std::string_view name) {
  for (auto rows : {TextFilters(), ListFilters(), NumberFilters()}) {
    for (const FilterRow& row : rows) {
      if (row.name == name) return &row;
    }
  }
  return nullptr;
}

}  // namespace unimax::jinja
