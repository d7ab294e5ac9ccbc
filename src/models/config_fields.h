// SPDX-License-Identifier: Apache-2.0
// Typed reading of a JSON object's fields, for configuration files.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/status.h"
#include "models/config_rows.h"

namespace unimax {

using Json = nlohmann::json;

// Typed access to an object's fields; null counts as absent. Errors name the file and the key.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const Json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  bool Has(const char* key) const { return object_.find(key) != object_.end(); }  // null counts, too

  Result<int64_t> Whole(const char* key, int64_t min, int64_t max) const {
    const Json* value = Find(key);
    if (value == nullptr) return BadModel("{}: {} is missing", where_, key);
    if (!value->is_number_integer()) return BadModel("{}: {} is not a whole number", where_, key);
    if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
      return BadModel("{}: {} is {}, not in {} to {}", where_, key, value->get<uint64_t>(), min, max);
    const int64_t number = value->get<int64_t>();
    UM_RETURN_IF_ERROR(CheckWhole(where_, key, number, min, max));
    return number;
  }
  Status Int(const char* key, int min, int max, int* out) const {
    UM_ASSIGN_OR_RETURN(const int64_t value, Whole(key, min, max));
    *out = static_cast<int>(value);
    return {};
  }
  // These keep `out` when the key is absent.
  Status OptionalInt(const char* key, int min, int max, int* out) const {
    return Find(key) == nullptr ? Status() : Int(key, min, max, out);
  }
  Status OptionalReal(const char* key, double above, double max, double* out) const {
    const Json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_number()) return BadModel("{}: {} is not a number", where_, key);
    UM_RETURN_IF_ERROR(CheckReal(where_, key, value->get<double>(), above, max));
    *out = value->get<double>();
    return {};
  }
  Status OptionalFlag(const char* key, bool* out) const {
    const Json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_boolean()) return BadModel("{}: {} is neither true nor false", where_, key);
    *out = value->get<bool>();
    return {};
  }
  Status OptionalText(const char* key, std::string* out) const {
    const Json* value = Find(key);
    if (value == nullptr) return {};
    if (!value->is_string()) return BadModel("{}: {} is not a string", where_, key);
    *out = value->get_ref<const std::string&>();
    return {};
  }

 private:
  const Json& object_;
  std::string where_;
};

}  // namespace unimax
