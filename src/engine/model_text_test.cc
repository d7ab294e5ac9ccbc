// SPDX-License-Identifier: Apache-2.0
// Row B09: what stands around a text stands there once, whoever asks for it.
#include "engine/model_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "weights/test_files.h"

namespace unimax {
namespace {

const std::string kTokenizer = DataPath("text/tokenizers/sp_bpe_llama/tokenizer.model");

Result<ModelText> Open(const TempFolder& folder, bool template_asks, bool add_bos, bool add_eos) {
  const std::string chat = template_asks ? "{{ bos_token }}{{ messages[0].content }}{% if not add_generation_prompt %}"
                                           "{{ eos_token }}{% endif %}"
                                         : "{{ messages[0].content }}";
  WriteAll(folder.File("tokenizer.model"), ReadAll(kTokenizer));
  WriteAll(folder.File("tokenizer_config.json"),
           std::string("{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_bos_token\": ") +
               (add_bos ? "true" : "false") + ", \"add_eos_token\": " + (add_eos ? "true" : "false") +
               ", \"chat_template\": \"" + chat + "\"}");
  return OpenModelText(folder.path());
}

TEST(B09, BosAndEosAreAddedOnce) {
  int cases = 0, twice = 0, missing = 0;
  const TempFolder folder("around");
  for (int flags = 0; flags < 8; ++flags) {
    const bool asks = flags & 1, add_bos = flags & 2, add_eos = flags & 4;
    const auto text = Open(folder, asks, add_bos, add_eos);
    ASSERT_TRUE(text.ok()) << text.status().text();
    ASSERT_TRUE(text->chat_template.has_value());
    const int bos = text->tokenizer->Find("<s>").value_or(-1), eos = text->tokenizer->Find("</s>").value_or(-1);
    ASSERT_TRUE(bos >= 0 && eos >= 0);
    const auto check = [&](const char* route, const std::vector<int>& ids, bool eos_wanted) {
      ++cases;
      const auto begins = std::count(ids.begin(), ids.end(), bos), ends = std::count(ids.begin(), ids.end(), eos);
      const bool bos_wanted = asks || add_bos;
      twice += begins > bos_wanted || ends > eos_wanted;
      missing += begins < bos_wanted || ends < eos_wanted;
      EXPECT_EQ(begins, bos_wanted) << route << " " << flags;
      EXPECT_EQ(ends, eos_wanted) << route << " " << flags;
      EXPECT_TRUE(!bos_wanted || ids.front() == bos) << route << " " << flags;
      EXPECT_TRUE(!eos_wanted || ids.back() == eos) << route << " " << flags;
    };
    // A raw text asks by spelling them.
    check("raw", text->EncodeText(asks ? "<s>hi there</s>" : "hi there"), asks || add_eos);
    for (const bool open : {false, true}) {
      const std::vector<Message> messages = {{"user", "hi there", ""}};
      const auto rendered = text->chat_template->Render(messages, open, text->bos_token, text->eos_token);
      ASSERT_TRUE(rendered.ok()) << rendered.status().text();
      check(open ? "chat to answer" : "whole chat", text->EncodeChat(*rendered, open), !open && (asks || add_eos));
    }
  }
  EXPECT_EQ(cases, 24);
  std::printf("B09 double=%d missing=%d of %d %s\n", twice, missing, cases,
              twice + missing == 0 && cases == 24 ? "PASS" : "FAIL");
}

TEST(ModelText, SaysWhereThingsComeFrom) {
  const TempFolder folder("origins");
  const auto from_config = Open(folder, true, true, false);
  ASSERT_TRUE(from_config.ok());
  EXPECT_EQ(from_config->chat_from, "tokenizer_config.json");
  EXPECT_EQ(from_config->kind, "tokenizer.model");
  WriteAll(folder.File("chat_template.jinja"), "{{ messages[0].content }}");
  WriteAll(folder.File("generation_config.json"),
           "{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20, \"top_p\": 0.95, \"repetition_penalty\": 1.1}");
  const auto text = OpenModelText(folder.path());
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->chat_from, "chat_template.jinja");
  EXPECT_EQ(text->sampling.sample, true);
  EXPECT_EQ(text->sampling.temperature, 0.6);
  EXPECT_EQ(text->sampling.top_k, 20);
  EXPECT_EQ(text->sampling.top_p, 0.95);
  EXPECT_EQ(text->sampling.repetition_penalty, 1.1);
  EXPECT_FALSE(text->sampling.min_p.has_value());
  WriteAll(folder.File("chat_template.jinja"), "{% if %}");
  const auto broken = OpenModelText(folder.path());
  ASSERT_TRUE(broken.ok());
  EXPECT_FALSE(broken->chat_template.has_value());
  EXPECT_FALSE(broken->chat_error.ok());
}

}  // namespace
}  // namespace unimax
