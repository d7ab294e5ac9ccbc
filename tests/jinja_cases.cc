// SPDX-License-Identifier: Apache-2.0
// Row C07: renders recorded chats and compares each text with what jinja2 made of it, byte for byte.
// Usage: jinja_cases FILE.jsonl[.gz] [SHOWN], how many differences are shown at most. A line holds "template", or
// "context" and "expected" (null: an error is wanted) for the template above it. Made by tests/jinja_differential.py.
#include <cstdio>
#include <cstdlib>

#include "text/chat_template.h"
#include "text/test_files.h"

namespace {

using json = nlohmann::ordered_json;

constexpr int64_t kFixedNow = 1721984703;  // 2024-07-26 09:05:03

// Why the rendering differs from the recorded one; "" when it does not.
std::string Difference(const unimax::Result<unimax::ChatTemplate>& made, const json& line) {
  unimax::Status status = made.status();
  std::string text;
  if (made.ok()) {
    const auto rendered = made->RenderJson(line["context"].dump(), kFixedNow);
    status = rendered.status();
    if (rendered.ok()) text = rendered->text;
  }
  if (line["expected"].is_null()) return status.ok() ? "no error, but: " + text : "";
  if (!status.ok()) return "error: " + std::string(status.text());
  return text == line["expected"].get<std::string>() ? "" : "got: " + text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return 2;
  const int most_shown = argc == 3 ? std::atoi(argv[2]) : 20;
  int cases = 0, differences = 0, templates = 0;
  std::string source;
  auto made = unimax::ChatTemplate::Parse("");
  for (const json& line : unimax::ReadJsonLines(argv[1])) {
    if (line.contains("template")) {
      source = line["template"].get<std::string>();
      made = unimax::ChatTemplate::Parse(source);
      ++templates;
      continue;
    }
    ++cases;
    const std::string why = Difference(made, line);
    if (why.empty() || ++differences > most_shown) continue;
    std::printf("%s\n  context  %s\n  expected %s\n  %s\n", source.c_str(), line["context"].dump().c_str(),
                line["expected"].dump().c_str(),
                json(why).dump(-1, ' ', false, json::error_handler_t::replace).c_str());
  }
  const bool good = differences == 0 && cases > 0;
  std::printf("C07 diff=%d of %d templates=%d %s\n", differences, cases, templates, good ? "PASS" : "FAIL");
  return good ? 0 : 1;
}
