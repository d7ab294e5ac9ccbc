// SPDX-License-Identifier: Apache-2.0
// The compiled half of fmt. Debian ships it as a shared object and as headers only; the first would be one more thing
// that must lie on the machine, the second costs each of our files 3 to 10 seconds. So its definitions are compiled
// here, once: these are what its headers declare `extern` and what they leave undefined.
#include <fmt/format-inl.h>

namespace fmt::detail {
template auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template locale_ref::locale_ref(const std::locale& locale);
template auto locale_ref::get<std::locale>() const -> std::locale;
template auto thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl<char>(locale_ref) -> char;
template void buffer<char>::append(const char*, const char*);
template void vformat_to<char>(buffer<char>&, string_view, basic_format_args<buffer_context<char>>, locale_ref);
}  // namespace fmt::detail
