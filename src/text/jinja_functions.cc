// SPDX-License-Identifier: Apache-2.0
// Global functions, and the methods and attributes of lists, mappings, loops and cyclers.
#include <algorithm>

#include "text/jinja_interp.h"

namespace unimax::jinja {
namespace {

using In = Interpreter;

constexpr Int kMaxRange = 100'000;  // the sandbox's MAX_RANGE

Result<Value> Range(In& in, const Value&, const Args& args) {
  if (args.positional.empty() || args.positional.size() > 3 || !args.named.empty())
    return in.Error("range takes 1 to 3 arguments");
  Int v[3] = {0, 0, 1};
  for (size_t i = 0; i < args.positional.size(); ++i) {
    UM_ASSIGN_OR_RETURN(v[i], in.IntOf(args.positional[i]));
  }
  if (args.positional.size() == 1) std::swap(v[0], v[1]);
  if (v[2] == 0) return in.Error("range() arg 3 must not be zero");
  constexpr Int kFar = Int{1} << 100;
  if (v[0] > kFar || v[0] < -kFar || v[1] > kFar || v[1] < -kFar || v[2] > kFar || v[2] < -kFar) {
    return in.Error("range: a number is too large");
  }
  const Int span = v[2] > 0 ? v[1] - v[0] : v[0] - v[1];
  const Int step = v[2] > 0 ? v[2] : -v[2];
  const Int n = span > 0 ? (span + step - 1) / step : 0;
  if (n > kMaxRange) return in.Error(fmt::format("range too big, at most {} numbers", static_cast<int>(kMaxRange)));
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(n)));
  std::vector<Value> items;
  for (Int i = 0; i < n; ++i) items.push_back(Value::Integer(v[0] + i * v[2]));
  return in.heap().List(std::move(items));
}

// dict(mapping or pairs, **more) into `dict`.
Status Fill(In& in, const Args& args, DictObject& dict) {
  if (args.positional.size() > 1) return in.Error("expected at most 1 argument");
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.Is(Kind::kDict)) {
      for (const auto& [key, value] : from.dict().items) dict.Set(key, value);
      UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(from.dict().items.size())));
    } else {
      UM_ASSIGN_OR_RETURN(const auto pairs, in.Iterate(from));
      for (const Value& pair : pairs) {
        UM_ASSIGN_OR_RETURN(const auto parts, in.Iterate(pair));
        if (parts.size() != 2 || !dict.Set(parts[0], parts[1])) return in.Error("expected pairs of key and value");
      }
    }
  }
  for (const auto& [name, v] : args.named) dict.Set(in.heap().String(name), v);
  return in.Charge(dict.items.size() * (2 * sizeof(Value) + 64));
}

Result<Value> MakeDict(In& in, const Value&, const Args& args) {
  const Value dict = in.heap().Dict();
  UM_RETURN_IF_ERROR(Fill(in, args, dict.dict()));
  return dict;
}

Result<Value> MakeNamespace(In& in, const Value&, const Args& args) {
  for (const auto& [name, v] : args.named) {
    if (name.starts_with('_')) return in.Error(fmt::format("namespace attribute '{}' is unsafe", name));
  }
  const Value space = Value::Of(Kind::kNamespace, in.heap().Make<DictObject>());
  UM_RETURN_IF_ERROR(Fill(in, args, space.dict()));
  return space;
}

// The message is the template author's word to the client: it is passed on bare.
Result<Value> RaiseException(In& in, const Value&, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"message"}, 1));
  UM_RETURN_IF_ERROR(in.Walk(a[0]));
  return BadModel("{}", ToText(a[0]).bytes());
}

Result<Value> StrftimeNow(In& in, const Value&, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"format"}, 1));
  if (!a[0].Is(Kind::kText)) return in.Error("strftime_now needs a format");
  return in.heap().String(FormatTime(a[0].bytes(), in.now()));
}

Result<Value> MakeJoiner(In& in, const Value&, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"sep"}, 0));
  auto* joiner = in.heap().Make<CyclerObject>();
  joiner->items.push_back(a[0].IsMissing() ? in.heap().String(", ") : a[0]);
  return Value::Of(Kind::kJoiner, joiner);
}

Result<Value> MakeCycler(In& in, const Value&, const Args& args) {
  if (args.positional.empty()) return in.Error("at least one item has to be provided");
  auto* cycler = in.heap().Make<CyclerObject>();
  cycler->items = args.positional;
  return Value::Of(Kind::kCycler, cycler);
}

Result<Value> Lipsum(In& in, const Value&, const Args&) { return in.Error("lipsum is not available"); }

constexpr FilterRow kFunctions[] = {
    {"range", Range},
    {"dict", MakeDict},
    {"namespace", MakeNamespace},
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
    {"joiner", MakeJoiner},
    {"cycler", MakeCycler},
    {"lipsum", Lipsum},
};

Result<Value> ListIndex(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"value"}, 1));
  const auto& items = self.list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    UM_RETURN_IF_ERROR(in.Walk(items[i]));
    if (Equal(items[i], a[0])) return Value::Integer(static_cast<Int>(i));
  }
  return in.Error("the value is not in the list");
}
Result<Value> ListCount(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"value"}, 1));
  const auto& items = self.list().items;
  UM_RETURN_IF_ERROR(in.Walk(self));
  return Value::Integer(std::count_if(items.begin(), items.end(), [&](const Value& v) { return Equal(v, a[0]); }));
}
Result<Value> ListCopy(In& in, const Value& self, const Args&) {
  return in.heap().Sequence(self.kind, self.list().items);
}
constexpr FilterRow kListMethods[] = {{"index", ListIndex}, {"count", ListCount}, {"copy", ListCopy}};

Result<Value> DictGet(In& in, const Value& self, const Args& args) {
  UM_ASSIGN_OR_RETURN(const auto a, in.Bind(args, {"key", "default"}, 1));
  if (!HashKey(a[0]) && !a[0].IsUndefined()) return in.Error(fmt::format("unhashable type: '{}'", TypeName(a[0])));
  const Value* found = self.dict().Find(a[0]);
  return found != nullptr ? *found : a[1].IsMissing() ? Value::None() : a[1];
}
Result<Value> View(In& in, const Value& self, std::string_view name) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.dict().items) {
    out.push_back(name == "dict_keys" ? key : name == "dict_values" ? value : in.heap().Tuple({key, value}));
  }
  UM_RETURN_IF_ERROR(in.Step(static_cast<int64_t>(out.size())));
  const Value view = in.heap().Sequence(Kind::kDictView, std::move(out));
  view.list().view = name;
  return view;
}
Result<Value> DictKeys(In& in, const Value& self, const Args&) { return View(in, self, "dict_keys"); }
Result<Value> DictValues(In& in, const Value& self, const Args&) { return View(in, self, "dict_values"); }
Result<Value> DictItems(In& in, const Value& self, const Args&) { return View(in, self, "dict_items"); }
Result<Value> DictCopy(In& in, const Value& self, const Args&) {
  const Value copy = in.heap().Dict();
  copy.dict() = self.dict();
  UM_RETURN_IF_ERROR(in.Charge(self.dict().items.size() * (2 * sizeof(Value) + 64)));
  return copy;
}
constexpr FilterRow kDictMethods[] = {
    {"get", DictGet}, {"keys", DictKeys}, {"values", DictValues}, {"items", DictItems}, {"copy", DictCopy}};

Result<Value> LoopCycle(In& in, const Value& self, const Args& args) {
  if (args.positional.empty()) return in.Error("no items for cycling given");
  return args.positional[static_cast<LoopObject*>(self.o)->at % args.positional.size()];
}
Result<Value> LoopChanged(In& in, const Value& self, const Args& args) {
  auto& loop = *static_cast<LoopObject*>(self.o);
  const Value now = in.heap().Tuple(args.positional);
  const bool changed = loop.changed.IsMissing() || !Equal(loop.changed, now);
  loop.changed = now;
  return Value::Bool(changed);
}
constexpr FilterRow kLoopMethods[] = {{"cycle", LoopCycle}, {"changed", LoopChanged}};

Result<Value> CyclerNext(In&, const Value& self, const Args&) {
  auto& cycler = *static_cast<CyclerObject*>(self.o);
  const Value v = cycler.items[cycler.at];
  cycler.at = (cycler.at + 1) % cycler.items.size();
  return v;
}
Result<Value> CyclerReset(In&, const Value& self, const Args&) {
  static_cast<CyclerObject*>(self.o)->at = 0;
  return Value::None();
}
constexpr FilterRow kCyclerMethods[] = {{"next", CyclerNext}, {"reset", CyclerReset}};

}  // namespace

std::span<const FilterRow> GlobalFunctions() { return kFunctions; }
std::span<const FilterRow> ListMethods() { return kListMethods; }
std::span<const FilterRow> DictMethods() { return kDictMethods; }

bool ChangesContainer(std::string_view method) {
  constexpr std::string_view kNames[] = {"append", "clear",  "pop",     "reverse",    "insert", "sort",
                                         "extend", "remove", "popitem", "setdefault", "update"};
  return std::find(std::begin(kNames), std::end(kNames), method) != std::end(kNames);
}

Result<Value> Interpreter::LoopAttribute(const Value& object, const std::string& name) {
  if (object.Is(Kind::kCycler)) {
    const auto& cycler = *static_cast<CyclerObject*>(object.o);
    if (name == "current") return cycler.items[cycler.at];
    return Method(object, kCyclerMethods, name);
  }
  const auto& loop = *static_cast<LoopObject*>(object.o);
  const auto at = static_cast<Int>(loop.at);
  const auto n = static_cast<Int>(loop.items.size());
  if (name == "index") return Value::Integer(at + 1);
  if (name == "index0") return Value::Integer(at);
  if (name == "revindex") return Value::Integer(n - at);
  if (name == "revindex0") return Value::Integer(n - at - 1);
  if (name == "length") return Value::Integer(n);
  if (name == "first") return Value::Bool(at == 0);
  if (name == "last") return Value::Bool(at + 1 == n);
  if (name == "depth") return Value::Integer(loop.depth);
  if (name == "depth0") return Value::Integer(loop.depth - 1);
  if (name == "previtem") return at > 0 ? loop.items[loop.at - 1] : Value();
  if (name == "nextitem") return at + 1 < n ? loop.items[loop.at + 1] : Value();
  return Method(object, kLoopMethods, name);
}

}  // namespace unimax::jinja
