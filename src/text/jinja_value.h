// SPDX-License-Identifier: Apache-2.0
// Values of the template language: Python's, as far as templates can tell. Values are small and point into the heap of
// one rendering; the heap owns every object until the rendering ends.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace unimax::jinja {

using Int = __int128;  // Python's integers have no end; templates stay far below this one's

// A string that knows which of its bytes are untrusted (came from outside the template).
class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, bool untrusted = false);
  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  void Reserve(size_t bytes) { bytes_.reserve(bytes); }
  void Append(std::string_view bytes, bool untrusted);
  void Append(const Text& other);
  void Append(const Text& other, size_t begin, size_t end);  // bytes [begin, end) of `other`
  Text Slice(size_t begin, size_t end) const;
  bool UntrustedAt(size_t at) const;
  bool AnyUntrusted() const;
  // Ends of runs of equal origin, and whether the run is untrusted; they cover the string.
  std::vector<std::pair<size_t, bool>> Runs() const;
  size_t overhead() const { return runs_.size() * sizeof(runs_[0]); }  // bytes beside those of the string

 private:
  std::string bytes_;
  bool untrusted_ = false;                     // of all bytes, where runs_ is empty
  std::vector<std::pair<size_t, bool>> runs_;  // two or more, or none
};

enum class Kind : uint8_t {
  kMissing,
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kComplex,
  kText,
  kList,
  kTuple,
  kDict,
  kDictView,
  kGenerator,
  kNamespace,
  kMacro,
  kLoop,
  kJoiner,
  kCycler,
  kMethod,
  kFunction
};

struct Object {
  virtual ~Object() = default;
};
struct TextObject;
struct ListObject;
class DictObject;
struct Complex {
  double re, im;
};

struct Value {
  Kind kind = Kind::kUndefined;
  union {
    bool b;
    Int i;
    double d;
    Complex z;
    Object* o;
  };
  Value() : i(0) {}
  static Value Missing() { return OfKind(Kind::kMissing); }  // an argument that was not given
  static Value None() { return OfKind(Kind::kNone); }
  static Value Bool(bool v) {
    Value r = OfKind(Kind::kBool);
    r.b = v;
    return r;
  }
  static Value Integer(Int v) {
    Value r = OfKind(Kind::kInt);
    r.i = v;
    return r;
  }
  static Value Float(double v) {
    Value r = OfKind(Kind::kFloat);
    r.d = v;
    return r;
  }
  static Value OfComplex(Complex v) {
    Value r = OfKind(Kind::kComplex);
    r.z = v;
    return r;
  }
  static Value Of(Kind kind, Object* object) {
    Value r = OfKind(kind);
    r.o = object;
    return r;
  }
  bool Is(Kind k) const { return kind == k; }
  bool IsMissing() const { return kind == Kind::kMissing; }
  bool IsUndefined() const { return kind == Kind::kUndefined || kind == Kind::kMissing; }
  bool IsNumber() const { return kind == Kind::kBool || kind == Kind::kInt || kind == Kind::kFloat; }
  bool IsInteger() const { return kind == Kind::kBool || kind == Kind::kInt; }
  bool IsSequence() const { return kind == Kind::kList || kind == Kind::kTuple; }
  Int AsInt() const { return kind == Kind::kBool ? Int{b} : i; }
  double AsDouble() const { return kind == Kind::kFloat ? d : static_cast<double>(AsInt()); }
  const Text& text() const;
  bool markup() const;
  const std::string& bytes() const { return text().bytes(); }
  ListObject& list() const;  // kList, kTuple, kGenerator, kDictView
  DictObject& dict() const;  // kDict, kNamespace

 private:
  static Value OfKind(Kind kind) {
    Value r;
    r.kind = kind;
    return r;
  }
};

struct TextObject final : Object {
  Text text;
  bool markup = false;  // already escaped for HTML
};
struct ListObject final : Object {
  std::vector<Value> items;
  int64_t weight = 2;     // as WeightOf
  bool grouped = false;   // a tuple of groupby, whose parts have names
  std::string_view view;  // kDictView: "dict_keys", "dict_values", "dict_items"
};
class DictObject final : public Object {
 public:
  std::vector<std::pair<Value, Value>> items;  // in order of insertion; filled by Set alone
  const Value* Find(const Value& key) const;   // nullptr also for a key that cannot be one
  const Value* Find(std::string_view key) const;
  bool Set(const Value& key, const Value& value);  // false: the key cannot be one (a list, a dict)
  int64_t weight = 2;                              // as WeightOf

 private:
  // Few items are looked at one by one; more are found through the index, which no choice of keys makes slow.
  static constexpr size_t kFew = 8;
  size_t Place(const Value& key) const;  // of its item, or the number of items
  std::map<std::string, size_t, std::less<>> index_;
};

// Owns the objects of a rendering and counts their bytes; what is counted is never given back.
class Heap {
 public:
  explicit Heap(int64_t limit) : limit_(limit), left_(limit) {}
  ~Heap() {
    for (Object* object : objects_) std::destroy_at(object);  // the memory goes all at once
  }
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  // Counts `bytes` before they are made; false when the limit is passed.
  bool Charge(size_t bytes) {
    left_ = bytes > static_cast<size_t>(std::max<int64_t>(left_, 0)) ? -1 : left_ - static_cast<int64_t>(bytes);
    return left_ >= 0;
  }
  // As if all were used up: something cannot be made within the limit.
  void Fill() { left_ = -1; }
  bool Full() const { return left_ < 0; }
  template <class T>
  T* Make() {
    Charge(sizeof(T) + sizeof(void*));
    T* object = std::pmr::polymorphic_allocator<>(&memory_).new_object<T>();
    objects_.push_back(object);
    return object;
  }
  Value String(Text text, bool markup = false);
  Value String(std::string_view bytes) { return String(Text(std::string(bytes))); }
  Value Sequence(Kind kind, std::vector<Value> items);
  Value List(std::vector<Value> items) { return Sequence(Kind::kList, std::move(items)); }
  Value Tuple(std::vector<Value> items) { return Sequence(Kind::kTuple, std::move(items)); }
  Value Generator(std::vector<Value> items) { return Sequence(Kind::kGenerator, std::move(items)); }
  Value Dict() { return Value::Of(Kind::kDict, Make<DictObject>()); }

 private:
  int64_t limit_, left_;
  std::pmr::monotonic_buffer_resource memory_{1 << 14};
  std::vector<Object*> objects_;
};

// About how many bytes `v` has as text. A container counts what it holds as often as it holds it, so that walking one
// is bounded by its weight; the heap makes none that weighs more than its limit.
int64_t WeightOf(const Value& v);
bool Truthy(const Value& v);
// Python's ==. Depth is bounded by `depth`; deeper values count as different.
bool Equal(const Value& a, const Value& b, int depth = 64);
// Python's <, or none when the two cannot be ordered.
std::optional<bool> Less(const Value& a, const Value& b, int depth = 64);
// What str() and repr() give; `repr` quotes strings. Origin is kept.
Text ToText(const Value& v, bool repr = false);
std::string_view TypeName(const Value& v);  // Python's: "str", "int"
std::string IntText(Int v);
std::string FloatText(double v);  // Python's repr
// A key for hashing that equal values share; none for what Python cannot hash.
std::optional<std::string> HashKey(const Value& v);

}  // namespace unimax::jinja
