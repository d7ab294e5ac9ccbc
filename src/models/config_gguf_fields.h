// SPDX-License-Identifier: Apache-2.0
// Typed reading of a GGUF file's keys of one architecture, for configuration.
#pragma once

#include <string>
#include <string_view>

#include "base/model_config.h"
#include "base/status.h"
#include "models/config_rows.h"
#include "weights/gguf.h"

namespace unimax {

class GgufFields {
 public:
  GgufFields(const GgufFile& file, const ArchitectureRow& row) : file_(file), row_(row) {}
  const GgufFile& file() const { return file_; }
  const ArchitectureRow& row() const { return row_; }
  const std::string& where() const { return file_.name(); }

  // "block_count" -> "<architecture>.block_count"
  std::string Key(std::string_view suffix) const { return fmt::format("{}.{}", row_.gguf, suffix); }
  bool Has(std::string_view suffix) const { return file_.metadata().Has(Key(suffix)); }

  Result<int> Whole(std::string_view suffix, int64_t min, int64_t max) const {
    UM_ASSIGN_OR_RETURN(const int64_t value, file_.metadata().Integer(Key(suffix)));
    UM_RETURN_IF_ERROR(CheckWhole(where(), Key(suffix), value, min, max));
    return static_cast<int>(value);
  }
  Result<int> WholeOr(std::string_view suffix, int64_t min, int64_t max, int fallback) const {
    if (!Has(suffix)) return fallback;
    return Whole(suffix, min, max);
  }
  Result<double> RealOr(std::string_view suffix, double above, double max, double fallback) const {
    if (!Has(suffix)) return fallback;
    UM_ASSIGN_OR_RETURN(const double value, file_.metadata().Number(Key(suffix)));
    UM_RETURN_IF_ERROR(CheckReal(where(), Key(suffix), value, above, max));
    return value;
  }

 private:
  const GgufFile& file_;
  const ArchitectureRow& row_;
};

// What the keys say about positions: which layers see a window, and how heads turn. Errors: kBadModel naming the key.
Status ReadGgufWindows(const GgufFields& fields, ModelConfig* config);
Status ReadGgufRope(const GgufFields& fields, ModelConfig* config);

}  // namespace unimax
