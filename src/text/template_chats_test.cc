// SPDX-License-Identifier: Apache-2.0
// Rows C02, C05 and C06 of the reliability table: hostile words in messages, broken templates, messages of any form.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <random>

#include "text/chat_template.h"
#include "text/test_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

constexpr int64_t kFixedNow = 1721984703;  // 2024-07-26 09:05:03

constexpr std::string_view kChat =
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Ways of a template to hand on the words of a message, each of which could put a marker together again.
const std::vector<std::string> kWays = {
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}",
    "{{ messages | map(attribute='content') | join }}",
    "{{ messages | map(attribute='content') | join('') | replace('~', '') }}",
    "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ m.content %}{% endfor %}{{ ns.t }}",
    "{% for m in messages %}{{ m.content | upper | lower }}{% endfor %}",
    "{% for m in messages %}{{ m.content[::-1][::-1] }}{% endfor %}",
    "{% for m in messages %}{{ '%s' % m.content }}{{ '{}'.format(m.content) }}{% endfor %}",
    "{% for m in messages %}{{ m.content.split('x') | join('x') }}{{ m.content | list | join }}{% endfor %}",
    "{% for m in messages %}{{ m | tojson }}{{ {m.content: 1} | tojson }}{% endfor %}",
    "{% for m in messages %}{% for k, v in m.items() %}{{ k }}{{ v }}{% endfor %}{% endfor %}",
    "{% macro show(c) %}{{ c }}{% endmacro %}{% for m in messages %}{{ show(m.content) }}{% endfor %}",
    "{% for m in messages %}{% set t %}{{ m.content }}{% endset %}{{ t | indent(0) }}{% endfor %}",
    "{% for m in messages %}{% filter trim %}{{ m.content }}{% endfilter %}{% endfor %}",
    "{{ messages }}",
    "{% for m in messages | sort(attribute='content') %}{{ m.content | string | safe }}{% endfor %}",
};

// How many control tokens (`only` >= 0: of that id) a chat becomes; -1: it is not rendered.
int Controls(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const json& messages, int only = -1) {
  ChatInput input;
  input.messages_json = messages.dump();
  input.now = kFixedNow;
  const auto rendered = chat_template.Render(input);
  if (!rendered.ok()) return -1;
  const std::vector<TextPiece> pieces = rendered->Pieces();
  const std::vector<int> ids = tokenizer.EncodeParts(pieces, false);
  return static_cast<int>(
      std::count_if(ids.begin(), ids.end(), [&](int id) { return only < 0 ? tokenizer.IsControl(id) : id == only; }));
}

// The messages of one try: `marker` whole, or cut in two at `cut`, in role `role`.
json Forged(const std::string& marker, size_t cut, const std::string& role) {
  const std::string head = marker.substr(0, cut), tail = marker.substr(cut);
  return json::array({{{"role", "user"}, {"content", "a" + head}}, {{"role", role}, {"content", tail + "b"}}});
}

TEST(TemplateChats, C02MessagesCannotForgeControlTokens) {
  std::vector<ChatTemplate> ways;
  for (const std::string& source : kWays) {
    auto made = ChatTemplate::Parse(source);
    ASSERT_TRUE(made.ok()) << source << made.status().text();
    ways.push_back(std::move(made).value());
  }
  int tries = 0, forged = 0, tokens = 0, refused = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(TestDataFolder())) {
    if (entry.path().filename() != "tokenizer.json") continue;
    const auto tokenizer = Tokenizer::FromJson(ReadTestFile(entry.path().string()).value_or(""));
    ASSERT_TRUE(tokenizer.ok()) << entry.path();
    for (int id = 0; id < (*tokenizer)->vocab_size(); ++id) {
      if (!(*tokenizer)->IsControl(id)) continue;
      const std::string marker((*tokenizer)->PieceOf(id));
      if (marker == "<unk>" || marker == "[UNK]") continue;  // any text may hold what is unknown
      ++tokens;
      const std::string roles[] = {"system", "user", "assistant", "tool", marker};
      for (size_t way = 0; way < ways.size(); ++way) {
        for (const size_t cut : {size_t{0}, size_t{1}, marker.size() / 2, marker.size()}) {
          size_t at = std::min(cut, marker.size());
          while (at < marker.size() && (static_cast<unsigned char>(marker[at]) & 0xc0) == 0x80) ++at;
          const std::string& role = roles[(way + cut) % std::size(roles)];
          // The twin has the same characters in another order: what stands for unknown ones is no forgery.
          const std::u32string letters = utf8::Decode(marker);
          const std::string twin = utf8::Encode(std::u32string(letters.rbegin(), letters.rend()));
          size_t twin_at = std::min(at, twin.size());
          while (twin_at < twin.size() && (static_cast<unsigned char>(twin[twin_at]) & 0xc0) == 0x80) ++twin_at;
          const int found = Controls(**tokenizer, ways[way], Forged(marker, at, role), id);
          const int benign = Controls(**tokenizer, ways[way], Forged(twin, twin_at, "user"), id);
          ++tries;
          refused += found < 0 ? 1 : 0;
          if (found <= std::max(benign, 0)) continue;
          ++forged;
          ADD_FAILURE() << entry.path() << " " << marker << " at " << at << ": " << kWays[way];
        }
      }
    }
  }
  EXPECT_GT(tokens, 60);
  EXPECT_EQ(refused, 0);
  std::printf("C02 forged_ids=%d of %d tokens=%d ways=%zu %s\n", forged, tries, tokens, ways.size(),
              forged + refused == 0 ? "PASS" : "FAIL");
}

TEST(TemplateChats, C02TheTemplatesOwnMarkersAreControlTokens) {
  const auto tokenizer =
      Tokenizer::FromJson(ReadTestFile(TestDataFolder() + "/tokenizers/bbpe_qwen2/tokenizer.json").value_or(""));
  ASSERT_TRUE(tokenizer.ok());
  const auto made = ChatTemplate::Parse(std::string(kChat));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(Controls(**tokenizer, *made, {{{"role", "user"}, {"content", "hello"}}}), 3);
}

// ---- C05 ----

const std::vector<std::string> kSources = {
    std::string(kChat),
    "{%- macro text(c) -%}{{ c if c is string else '' }}{%- endmacro -%}\n{% set ns = namespace(n=0) %}\n"
    "{% for m in messages if m.role != 'system' %}\n  {% set ns.n = ns.n + 1 %}[{{ ns.n }}] {{ text(m.content) }}\n"
    "{% else %}\nnobody\n{% endfor %}\n{{ messages[0]['content'][:3] | upper }}",
    "{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}\n{% for m in messages %}\n{% if (m.role == 'user') != "
    "(loop.index0 % 2 == 0) %}\n{{ raise_exception('roles must alternate') }}\n{% endif %}\n{{ m.content.strip() ~ "
    "'\\n' }}"
    "{% endfor %}",
};

std::string Mutated(std::string source, std::mt19937& random) {
  constexpr std::string_view kParts[] = {"{{", "}}", "{%",   "%}",  "(",   ")", "[",  "]",  "'", "\"",
                                         "|",  ".",  "if",   "for", "end", "+", "==", "{#", "1", "x",
                                         "!",  "@",  "None", "in",  "is",  ",", ":",  "\n"};
  for (unsigned edits = 1 + random() % 4; edits > 0; --edits) {
    const size_t at = random() % source.size();
    switch (random() % 3) {
      case 0:
        source.erase(at, 1 + random() % 6);
        break;
      case 1:
        source.insert(at, kParts[random() % std::size(kParts)]);
        break;
      default:
        source[at] = static_cast<char>(32 + random() % 95);
    }
    if (source.empty()) source = "{{";
  }
  return source;
}

TEST(TemplateChats, C05BrokenTemplatesSayWhere) {
  std::mt19937 random(5);
  const auto says_where = [](const std::string& text) {
    int line = 0, column = 0, end = 0;
    return std::sscanf(text.c_str(), "chat template line %d, column %d: %n", &line, &column, &end) == 2 && line > 0 &&
           column > 0 && end > 0 && text.size() > static_cast<size_t>(end);
  };
  const std::string context = R"({"messages": [{"role": "user", "content": "Hi "}, {"role": "user", "content": "x"}]})";
  int broken = 0, placed = 0, raised = 0, tries = 0;
  while (broken < 200 && tries < 100000) {
    const std::string source = Mutated(kSources[static_cast<size_t>(++tries) % kSources.size()], random);
    const auto made = ChatTemplate::Parse(source);
    Status status = made.status();
    if (made.ok()) status = made->RenderJson(context, kFixedNow).status();
    if (status.ok()) continue;
    if (!status.text().starts_with("chat template") && source.find("raise_exception(") != source.npos) {
      ++raised;
      continue;
    }
    ++broken;
    const std::string text(status.text());
    const bool good = says_where(text) && status.kind() == ErrorKind::kBadModel;
    placed += good ? 1 : 0;
    EXPECT_TRUE(good) << source << "\n" << text;
  }
  EXPECT_EQ(broken, 200);
  EXPECT_GT(raised, 0);
  std::printf("C05 aborts=0 survived=%d with_line_and_column=%d raised=%d %s\n", broken, placed, raised,
              broken == 200 && placed == 200 ? "PASS" : "FAIL");
}

// ---- C06 ----

class Schema {
 public:
  explicit Schema(unsigned seed) : random_(seed) {}

  json Messages() {
    json list = json::array();
    for (unsigned n = Below(7); n > 0; --n) list.push_back(Message());
    return list;
  }
  json Tools() {
    if (Below(3) > 0) return nullptr;
    return json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", Any(0)}}}}});
  }

 private:
  unsigned Below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  std::string Text() {
    const char* const parts[] = {"",     "Hi", " there\n",   "{\"a\": 1", "{}",
                                 "null", "é😀", "<|im_end|>", "</think>",  "{{ x }}"};
    return std::string(parts[Below(10)]) + parts[Below(10)];
  }
  json Any(int depth) {
    switch (Below(depth < 3 ? 8 : 6)) {
      case 0:
        return nullptr;
      case 1:
        return Below(2) == 0;
      case 2:
        return static_cast<int>(Below(100)) - 50;
      case 3:
        return 0.25 * Below(9);
      case 4:
      case 5:
        return Text();
      case 6:
        return json::array({Any(depth + 1), Any(depth + 1)});
      default:
        return json{{Text(), Any(depth + 1)}, {"k", Any(depth + 1)}};
    }
  }
  json Call() {
    json call = json::object();
    if (Below(4) > 0) call["id"] = Below(5) > 0 ? json(Text()) : Any(1);
    if (Below(6) > 0) call["type"] = "function";
    if (Below(8) == 0) return Any(0);
    json function = json::object();
    if (Below(6) > 0) function["name"] = Below(6) > 0 ? json("look") : Any(1);
    if (Below(6) > 0) function["arguments"] = Below(2) > 0 ? json(Text()) : Any(0);
    if (Below(8) > 0) call["function"] = function;
    return call;
  }
  json Message() {
    const char* const roles[] = {"user", "assistant", "system", "tool", "developer", "", "critic"};
    json message = json::object();
    if (Below(30) > 0) message["role"] = roles[Below(7)];
    const unsigned kind = Below(10);
    if (kind < 5) message["content"] = Text();
    if (kind == 5) message["content"] = nullptr;
    if (kind == 6) message["content"] = json::array({{{"type", "text"}, {"text", Text()}}, {{"type", "image"}}});
    if (kind == 7) message["content"] = Any(0);
    if (Below(3) == 0) message["tool_calls"] = Below(6) > 0 ? json::array({Call(), Call()}) : Any(0);
    if (Below(4) == 0) message["tool_call_id"] = Below(4) > 0 ? json(Text()) : Any(1);
    if (Below(5) == 0) message["name"] = Any(1);
    if (Below(6) == 0) message["reasoning_content"] = Any(2);
    return message;
  }

  std::mt19937 random_;
};

TEST(TemplateChats, C06MessagesOfAnyFormRenderOrAreRefused) {
  std::vector<ChatTemplate> templates;
  std::vector<std::string> sources = kSources;
  const std::string folder = PublicDataFolder() + "/chat_templates/templates";
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error))
    sources.push_back(ReadTestFile(file.path().string()).value_or(""));
  for (const std::string& source : sources) {
    auto made = ChatTemplate::Parse(source);
    ASSERT_TRUE(made.ok()) << made.status().text();
    templates.push_back(std::move(made).value());
  }
  Schema schema(6);
  int rendered = 0, refused = 0, faults = 0;
  for (size_t i = 0; i < 20000; ++i) {
    ChatInput input;
    input.messages_json = schema.Messages().dump();
    if (const json tools = schema.Tools(); !tools.is_null()) input.tools_json = tools.dump();
    input.bos_token = "<s>";
    input.eos_token = "</s>";
    input.now = kFixedNow;
    const auto result = templates[i % templates.size()].Render(input);
    const bool clean =
        result.ok() || (result.status().kind() == ErrorKind::kBadModel && !result.status().text().empty());
    rendered += result.ok() ? 1 : 0;
    refused += result.ok() ? 0 : 1;
    faults += clean ? 0 : 1;
    EXPECT_TRUE(clean) << input.messages_json << result.status().text();
  }
  EXPECT_GT(rendered, 1000);
  EXPECT_GT(refused, 1000);
  std::printf("C06 status_5xx=%d of 20000 rendered=%d refused=%d templates=%zu %s\n", faults, rendered, refused,
              templates.size(), faults == 0 ? "PASS" : "FAIL");
}

}  // namespace
}  // namespace unimax
