// SPDX-License-Identifier: Apache-2.0
// What the commands share; the commands themselves are tested as a user runs them (tests/test_cli.py).
#include <gtest/gtest.h>

#include "cli/command.h"

namespace unimax {
namespace {

TEST(Json, EscapesWhateverAModelSays) {
  EXPECT_EQ(JsonString("a\"b\\\n\x01"), "\"a\\\"b\\\\\\n\\u0001\"");
  EXPECT_EQ(JsonString("\xff"), "\"\xef\xbf\xbd\"");  // not UTF-8: the replacement character
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
