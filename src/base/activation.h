// SPDX-License-Identifier: Apache-2.0
// The activation functions of feed-forward layers, for host and device code.
#pragma once

namespace unimax {

enum class Activation : unsigned char {
  kNone,
  kSilu,      // x / (1 + exp(-x))
  kGelu,      // x * Phi(x), by erf (Hendrycks & Gimpel 2016)
  kGeluTanh,  // the same by its tanh form
  kRelu,
};

}  // namespace unimax
