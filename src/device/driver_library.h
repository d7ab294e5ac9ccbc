// SPDX-License-Identifier: Apache-2.0
// A driver's shared library, opened at run time, and its functions by name. The library stays loaded until the process
// ends: drivers keep threads and exit handlers, and unloading one under them crashes.
#pragma once

#include <span>
#include <string>

#include "base/status.h"

namespace unimax {

class DriverLibrary {
 public:
  // Opens the first of `names` that is there. Errors (kNoDevice): none found ("libcuda.so.1 not found"), or found but
  // refused by the system's loader, with its reason.
  static Result<DriverLibrary> Open(std::span<const std::string> names);

  // Points `function` at the symbol; a symbol that is not there is remembered for `missing` and leaves nullptr.
  template <class R, class... A>
  void Need(const char* name, R (*&function)(A...)) {
    Want(name, function);
    if (function == nullptr && missing_.empty()) missing_ = name;
  }
  // The same for a symbol that may be absent.
  template <class R, class... A>
  void Want(const char* name, R (*&function)(A...)) const {
    function = reinterpret_cast<R (*)(A...)>(Symbol(name));
  }
  const std::string& missing() const { return missing_; }  // the first needed symbol that was absent, or ""

 private:
  explicit DriverLibrary(void* handle) : handle_(handle) {}
  void* Symbol(const char* name) const;

  void* handle_ = nullptr;
  std::string missing_;
};

}  // namespace unimax
