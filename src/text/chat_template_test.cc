// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "text/test_files.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

constexpr int64_t kFixedNow = 1721984703;  // 2024-07-26 09:05:03

// Why the rendering of a recorded case differs; "" when it does not.
std::string Difference(const std::string& source, const json& context, const json& expected) {
  const auto made = ChatTemplate::Parse(source);
  Status status = made.status();
  std::string text;
  if (made.ok()) {
    const auto rendered = made.value().RenderJson(context.dump(), kFixedNow);
    status = rendered.status();
    if (rendered.ok()) text = rendered.value().text;
  }
  if (expected.contains("expected")) {
    if (!status.ok()) return "error: " + std::string(status.text());
    return text == expected["expected"].get<std::string>() ? "" : "got: " + text;
  }
  if (status.ok()) return "no error, but: " + text;
  const bool message_counts = expected.value("error_kind", "") == "raise_exception";
  if (!message_counts || status.text() == expected["error"].get<std::string>()) return "";
  return "other message: " + std::string(status.text());
}

TEST(Jinja, RecordedFeatures) {
  std::string report;
  int passed = 0;
  int cases = 0;
  for (const json& c : ReadJsonLines(TestDataFolder() + "/jinja_features.jsonl")) {
    if (c.value("error_kind", "") == "unspecified") continue;
    ++cases;
    const std::string why = Difference(c["template"].get<std::string>(), c["context"], c);
    if (why.empty()) {
      ++passed;
    } else {
      report += c["id"].dump() + c["template"].dump() + "\n  " + why + "\n";
    }
  }
  std::printf("fixtures jinja passed=%d of %d\n", passed, cases);
  EXPECT_EQ(cases, 433);
  EXPECT_GE(passed, 433) << report;
}

TEST(Jinja, PublicTemplates) {
  const std::string folder = PublicDataFolder() + "/chat_templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no templates at " << folder;
  std::map<std::string, json> contexts;
  for (const json& line : ReadJsonLines(folder + "/conversations.jsonl")) contexts[line["id"]] = line["context"];
  std::string report;
  int passed = 0;
  int cases = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder + "/templates")) {
    const std::string name = file.path().stem().string();
    const std::string source = ReadTestFile(file.path().string()).value_or("");
    int wrong = 0;
    for (const json& line : ReadJsonLines(folder + "/golden/" + name + ".jsonl.gz")) {
      json context = contexts[line["id"]];
      if (line.contains("extra")) context.update(line["extra"]);
      ++cases;
      const std::string why = Difference(source, context, line);
      if (why.empty()) {
        ++passed;
      } else if (++wrong <= 2) {
        report += name + line["id"].dump() + "\n  " + why.substr(0, 1000) + "\n";
      }
    }
  }
  std::printf("public/chat_templates passed=%d of %d\n", passed, cases);
  EXPECT_EQ(cases, 1015);
  EXPECT_GE(passed, 1015) << report;
}

TEST(Jinja, BombsAreErrors) {
  const std::string deep_list = "{{ " + std::string(5000, '[') + std::string(5000, ']') + " }}";
  std::string deep_if;
  for (int i = 0; i < 5000; ++i) deep_if += "{% if true %}";
  std::string long_sum = "{{ 1";
  for (int i = 0; i < 50000; ++i) long_sum += "+1";
  const std::string bombs[] = {
      "{{ 'x' * 10 ** 10 }}",
      "{{ [0] * 10 ** 10 }}",
      "{{ 2 ** 100000000 }}",
      "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      "{{ 'a' | center(10 ** 12) }}",
      "{{ 'a' | indent(10 ** 12, true) }}",
      "{{ '%999999999999d' % 1 }}{{ 'x' * 90000000 }}",
      "{% set a = [] %}{% for i in range(99999) %}{% set a = a + a + [i] %}{{ a | length }}{% endfor %}",
      "{% for i in range(100000) %}{{ range(100000) | list | length }}{% endfor %}",
      deep_list,
      deep_if,
      long_sum + " }}",
      "{{ " + std::string(5000, '-') + "1 }}",
      "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
  };
  for (const std::string& bomb : bombs) {
    const auto made = ChatTemplate::Parse(bomb);
    if (!made.ok()) continue;
    const auto rendered = made.value().RenderJson("{}", kFixedNow);
    EXPECT_FALSE(rendered.ok()) << bomb.substr(0, 80);
  }
}

TEST(Jinja, MessagesCarryMoreThanTheirContent) {
  const auto made = ChatTemplate::Parse(
      "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content if m.content is string else m.content[0].text }}"
      "{% if m.tool_calls %}!{{ m.tool_calls[0].name }}{% endif %};{% endfor %}{{ tools | length if tools }}{{ kw }}");
  ASSERT_TRUE(made.ok()) << made.status().text();
  ChatInput input;
  input.messages = {{"user", "a", ""},
                    {"assistant", "", R"({"tool_calls": [{"name": "f"}]})"},
                    {"user", "", R"({"content": [{"type": "text", "text": "b"}]})"}};
  input.bos_token = "<s>";
  input.tools_json = "[1, 2]";
  input.extra_json = R"({"kw": 5})";
  const auto rendered = made.value().Render(input);
  ASSERT_TRUE(rendered.ok()) << rendered.status().text();
  EXPECT_EQ(rendered.value().text, "<s>user:a;assistant:!f;user:b;25");
  input.tools_json = "[";
  EXPECT_FALSE(made.value().Render(input).ok());
}

}  // namespace
}  // namespace unimax
