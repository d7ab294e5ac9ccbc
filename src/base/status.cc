// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace unimax {

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "unimax: internal error: %s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace unimax
