// SPDX-License-Identifier: Apache-2.0
#include "engine/answer_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/model_text.h"

namespace unimax {
namespace {

// What a client sees of `text`, token by token; nothing that was shown may have to be taken back.
struct Shown {
  std::string text, stop;
  size_t tokens = 0;  // that were needed
};

Shown Show(const Tokenizer& tokenizer, const std::string& text, std::vector<std::string> stops) {
  AnswerText answer(&tokenizer, std::move(stops));
  Shown shown;
  for (const int id : tokenizer.Encode(text, false)) {
    ++shown.tokens;
    shown.text += answer.Add(id);
    if (answer.stopped()) break;
  }
  shown.text += answer.Flush();
  shown.stop = answer.stop();
  return shown;
}

class StopStrings : public testing::Test {
 protected:
  void SetUp() override {
    auto text = OpenModelText(UM_SOURCE_DIR "/tests/data/models/llama3");
    ASSERT_TRUE(text.ok()) << text.status().text();
    text_ = std::move(text).value();
  }
  const Tokenizer& tokenizer() const { return *text_.tokenizer; }
  ModelText text_;
};

TEST_F(StopStrings, EndTheTextBeforeThem) {
  const std::string text = "one two three, two three four";
  EXPECT_EQ(Show(tokenizer(), text, {}).text, text);
  EXPECT_EQ(Show(tokenizer(), text, {""}).text, text);
  EXPECT_EQ(Show(tokenizer(), text, {"five"}).text, text);
  EXPECT_EQ(Show(tokenizer(), text, {"two"}).text, "one ");
  EXPECT_EQ(Show(tokenizer(), text, {"three four", "fives"}).text, "one two three, two ");
  EXPECT_EQ(Show(tokenizer(), text, {"four!"}).text, text);  // held back at the end, then given
  EXPECT_EQ(Show(tokenizer(), text, {"one"}).text, "");
  const Shown both = Show(tokenizer(), text, {"two three", "two three,"});
  EXPECT_EQ(both.text, "one ");
  EXPECT_EQ(Show(tokenizer(), "aaab", {"aab"}).text, "a");
}

// Every stop of every text, against a search in the whole text.
TEST_F(StopStrings, AreFoundWhereverTokensCutThem) {
  const std::string text = "The cat sat on the mat; the cat ran. 日本語 🦙 caté cate";
  int cases = 0;
  for (size_t from = 0; from < text.size(); ++from) {
    for (size_t length = 1; from + length <= text.size() && length < 12; ++length) {
      const std::string stop = text.substr(from, length);
      const Shown shown = Show(tokenizer(), text, {stop});
      // A stop that cuts through a character is found once the character is whole.
      ASSERT_EQ(shown.text, text.substr(0, text.find(stop))) << stop;
      ASSERT_EQ(shown.stop, stop);
      ++cases;
    }
  }
  EXPECT_GT(cases, 500);
}

TEST(AnswerText, WithoutATokenizerThereIsNone) {
  AnswerText answer(nullptr, {"x"});
  EXPECT_EQ(answer.Add(3), "");
  EXPECT_EQ(answer.Flush(), "");
  EXPECT_FALSE(answer.stopped());
}

}  // namespace
}  // namespace unimax
