// SPDX-License-Identifier: Apache-2.0
// Builds the syntax tree of a template: the grammar of jinja2 3.1 with loop controls and generation blocks.
#pragma once

#include <memory>
#include <string_view>

#include "base/status.h"
#include "text/jinja_ast.h"

namespace unimax::jinja {

// Errors: kBadModel with line and column: what jinja2 refuses to compile, and nesting deeper than the evaluator can
// walk.
Result<std::unique_ptr<const Program>> ParseTemplate(std::string_view source);

}  // namespace unimax::jinja
