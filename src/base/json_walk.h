// SPDX-License-Identifier: Apache-2.0
// Walks a JSON text event by event, without building it in memory and without recursion: for outside texts whose size,
// depth and duplicate keys matter (RFC 8259; nlohmann-json does the lexing).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace unimax {

inline constexpr int kMaxJsonDepth = 64;
inline constexpr uint64_t kMaxJsonBytes = 64 << 20;

struct JsonEvent {
  enum class Kind { kObject, kArray, kEnd, kKey, kString, kNull, kBool, kUnsigned, kNegative, kReal };
  Kind kind;              // kEnd closes an object or an array; kReal: a fraction, or outside 64 bits
  int depth;              // levels open around it: 0 for the outermost value, 1 for the keys of the outermost object
  std::string_view text;  // kKey, kString: unescaped UTF-8; kReal: as it is spelled; valid during the call
  uint64_t number = 0;    // kUnsigned; kBool: 0 or 1; kNegative: its two's complement
  double real = 0;        // kUnsigned, kNegative, kReal
};

class JsonVisitor {
 public:
  virtual ~JsonVisitor() = default;
  // An error ends the walk and becomes its result.
  virtual Status Visit(const JsonEvent& event) = 0;
};

// Errors: kBadModel "<what>: ...": not one JSON value, not UTF-8, or nested deeper than kMaxJsonDepth; the visitor's.
Status WalkJson(std::string_view text, std::string_view what, JsonVisitor* visitor);

// Only checks: at most `max_bytes` long, and as WalkJson.
Status CheckJson(std::string_view text, std::string_view what, uint64_t max_bytes);

// Well-formed UTF-8 without NUL.
bool IsPlainUtf8(std::string_view text);
// For error texts: at most 80 bytes, other bytes than printable ASCII as \xNN.
std::string Printable(std::string_view text);

}  // namespace unimax
