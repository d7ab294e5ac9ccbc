// SPDX-License-Identifier: Apache-2.0
// What the commands share; the commands themselves are tested as a user runs them (tests/test_cli.py).
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/progress.h"

namespace unimax {
namespace {

TEST(Json, EscapesWhateverAModelSays) {
  EXPECT_EQ(JsonString("a\"b\\\n\x01"), "\"a\\\"b\\\\\\n\\u0001\"");
  EXPECT_EQ(JsonString("\xff"), "\"\xef\xbf\xbd\"");  // not UTF-8: the replacement character
}

// On the CPU (a model of integers, which are packed) and on a device: ascending, and all of it last.
TEST(Loading, IsHeardOfUntilAllIsThere) {
  for (const char* device : {"cpu", "emulator"}) {
    ModelOptions options;
    options.model = UM_SOURCE_DIR "/tests/data/gguf/tiny-llama-q8_0.gguf";
    options.device = device;
    std::vector<std::pair<uint64_t, uint64_t>> heard;
    options.loading = [&](uint64_t done, uint64_t of) { heard.emplace_back(done, of); };
    const auto model = Model::Load(options);
    ASSERT_TRUE(model.ok()) << model.status().text();
    ASSERT_GT(heard.size(), 3u) << device;
    EXPECT_TRUE(std::is_sorted(heard.begin(), heard.end()));
    EXPECT_EQ(heard.back().first, heard.back().second);
    EXPECT_EQ(heard.front().second, heard.back().second);
    EXPECT_GT(heard.back().second, 50000u);
  }
  EXPECT_EQ(LoadingText(3210000000, 16060000000), "loading weights: 3.2 of 16.1 GB");
}

TEST(Commands, EachHasHelpWithExamples) {
  CLI::App app("unimax");
  const std::unique_ptr<Command> commands[] = {AddRun(app),      AddInspect(app),  AddEval(app),   AddBench(app),
                                               AddSelftest(app), AddTokenize(app), AddRender(app), AddVerify(app)};
  for (const std::unique_ptr<Command>& command : commands) {
    EXPECT_NE(command->app().help().find("Examples:"), std::string::npos) << command->app().get_name();
  }
}

}  // namespace
}  // namespace unimax
