// SPDX-License-Identifier: Apache-2.0
// Rows C01, C03 and C05: any bytes as a chat template, and after a zero byte any bytes as its variables.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t zero = all.find('\0');
  const auto made = unimax::ChatTemplate::Parse(std::string(all.substr(0, zero)));
  UM_CHECK(made.ok() || made.status().kind() == unimax::ErrorKind::kBadModel);
  if (!made.ok()) return 0;
  std::string_view variables = zero == all.npos ? std::string_view() : all.substr(zero + 1);
  if (variables.empty()) variables = R"({"messages": [{"role": "user", "content": "a <b> \u00e9\n"}], "tools": null})";
  unimax::TemplateBudget budget;  // small, so that many inputs a second are tried
  budget.steps = 20'000;
  budget.heap_bytes = 4 << 20;
  const auto rendered = made->RenderJson(variables, 1721984703, budget);
  UM_CHECK(rendered.ok() || rendered.status().kind() == unimax::ErrorKind::kBadModel);
  if (!rendered.ok()) return 0;
  size_t end = 0;
  for (const auto& range : rendered->untrusted) {  // ascending, not empty, not touching
    UM_CHECK(range.begin < range.end && (end == 0 || range.begin > end));
    end = range.end;
  }
  UM_CHECK(end <= rendered->text.size());
  return 0;
}
