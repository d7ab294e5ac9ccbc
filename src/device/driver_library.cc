// SPDX-License-Identifier: Apache-2.0
#include "device/driver_library.h"

#include <dlfcn.h>

#include <string_view>

namespace unimax {

Result<DriverLibrary> DriverLibrary::Open(std::span<const std::string> names) {
  std::string reason;
  for (const std::string& name : names) {
    if (void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); handle != nullptr) return DriverLibrary(handle);
    const char* error = dlerror();
    const std::string text = error == nullptr ? name + ": unknown error" : error;
    // A library that is there but needs another one names that other one first.
    const bool absent = text.starts_with(name + ": cannot open shared object file: No such file");
    if (!absent && reason.empty()) reason = text;
  }
  if (!reason.empty()) return NoDevice("{}", reason);
  return NoDevice("{} not found", names.empty() ? std::string_view("library") : std::string_view(names.front()));
}

void* DriverLibrary::Symbol(const char* name) const { return dlsym(handle_, name); }

}  // namespace unimax
