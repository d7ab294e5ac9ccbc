// SPDX-License-Identifier: Apache-2.0
// Types of storage, the same in every port, which includes this behind its UM_PORT_NAMESPACE. The contract is in
// port.h.
#pragma once

namespace unimax::UM_PORT_NAMESPACE {

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};
struct i8x2 {
  unsigned short bits;
};

}  // namespace unimax::UM_PORT_NAMESPACE
