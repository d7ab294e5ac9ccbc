// SPDX-License-Identifier: Apache-2.0
// Which names a scope hides. jinja2 decides before it runs a template what a name means in each scope: one that a scope
// sets before it reads it belongs to that scope, all the way from its beginning. So the body of {% set a %}..{% endset
// %} does not see an `a` of the caller's, and neither does a loop that stands before {% set a = 1 %}.
#pragma once

#include "text/jinja_ast.h"

namespace unimax::jinja {

// Fills Body::undefined in a template's body and all scopes within it.
void FindUndefined(Body& root);

}  // namespace unimax::jinja
