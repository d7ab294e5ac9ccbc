// SPDX-License-Identifier: Apache-2.0
// Errors as values. `Status` says whether an act succeeded; `Result<T>` carries a value or the reason there is none.
// Outside data that can be wrong is reported through these; our own bugs stop the process through UM_CHECK.
// Each kind owns one process exit status (docs/architecture.md, "Exit statuses").
#pragma once

#include <fmt/core.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace unimax {

enum class ErrorKind : int {
  kNone = 0,
  kUsage = 2,      // the command line or a setting is wrong
  kBadModel = 65,  // a model file's content is wrong or not supported
  kNoDevice = 69,  // the device is missing, too old, too small or failed
  kInternal = 70,  // our own fault
  kIo = 74,        // the operating system refused a read, a write or memory
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(ErrorKind kind, std::string text) : error_(std::make_unique<Error>(Error{kind, std::move(text)})) {}
  Status(const Status& o) : error_(o.error_ ? std::make_unique<Error>(*o.error_) : nullptr) {}
  Status& operator=(const Status& o) {
    if (this != &o) error_ = o.error_ ? std::make_unique<Error>(*o.error_) : nullptr;
    return *this;
  }
  Status(Status&&) = default;
  Status& operator=(Status&&) = default;
  ~Status() = default;

  bool ok() const { return error_ == nullptr; }
  ErrorKind kind() const { return error_ ? error_->kind : ErrorKind::kNone; }
  int exit_status() const { return static_cast<int>(kind()); }
  // One sentence for a person; empty on success.
  std::string_view text() const { return error_ ? std::string_view(error_->text) : std::string_view(); }
  // The same error with `where` in front: "model.gguf: bad magic".
  Status At(std::string_view where) const {
    return ok() ? Status() : Status(error_->kind, fmt::format("{}: {}", where, error_->text));
  }

 private:
  struct Error {
    ErrorKind kind;
    std::string text;
  };
  std::unique_ptr<Error> error_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor); must be an error
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

// Makers, one a kind: `return BadModel("{}: tensor {} ends past the file", path, name);`
template <class... A>
Status UsageError(fmt::format_string<A...> f, A&&... a) {
  return {ErrorKind::kUsage, fmt::format(f, std::forward<A>(a)...)};
}
template <class... A>
Status BadModel(fmt::format_string<A...> f, A&&... a) {
  return {ErrorKind::kBadModel, fmt::format(f, std::forward<A>(a)...)};
}
template <class... A>
Status NoDevice(fmt::format_string<A...> f, A&&... a) {
  return {ErrorKind::kNoDevice, fmt::format(f, std::forward<A>(a)...)};
}
template <class... A>
Status Internal(fmt::format_string<A...> f, A&&... a) {
  return {ErrorKind::kInternal, fmt::format(f, std::forward<A>(a)...)};
}
template <class... A>
Status IoError(fmt::format_string<A...> f, A&&... a) {
  return {ErrorKind::kIo, fmt::format(f, std::forward<A>(a)...)};
}

// Prints the broken condition to stderr and aborts: for bugs, never for outside data.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace unimax

#define UM_CHECK(condition)                                                  \
  do {                                                                       \
    if (!(condition)) ::unimax::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

// Leaves the function with the error of `expression` (a Status), if it has one.
#define UM_RETURN_IF_ERROR(expression)                                    \
  do {                                                                    \
    if (::unimax::Status um_s_ = (expression); !um_s_.ok()) return um_s_; \
  } while (false)

// `UM_ASSIGN_OR_RETURN(auto file, Open(path));`: the value, or leaves with the error.
#define UM_CONCAT_INNER(a, b) a##b
#define UM_CONCAT(a, b) UM_CONCAT_INNER(a, b)
#define UM_ASSIGN_OR_RETURN(declaration, expression)                                \
  auto UM_CONCAT(um_r_, __LINE__) = (expression);                                   \
  if (!UM_CONCAT(um_r_, __LINE__).ok()) return UM_CONCAT(um_r_, __LINE__).status(); \
  declaration = std::move(UM_CONCAT(um_r_, __LINE__)).value()
