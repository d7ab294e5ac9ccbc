// SPDX-License-Identifier: Apache-2.0
// Complex numbers, which Python makes of a root of a negative number: `(-8) ** 0.5`.
#pragma once

#include "text/jinja_ast.h"

namespace unimax::jinja {

// Numbers of any kind, one of them complex, or any two for Op::kPow. kMissing: division by zero or out of range;
// kUndefined: complex numbers have no such operator.
Value ComplexOp(Op op, const Value& a, const Value& b);
std::string ComplexText(const Value& v);  // Python's repr
Value Negated(const Value& v);
double Absolute(const Value& v);

}  // namespace unimax::jinja
