// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>

#include "cli/command.h"

namespace {

int Main(int argc, char** argv) {
  CLI::App app("unimax: runs large language models on CPUs and GPUs", "unimax");
  app.require_subcommand(0, 1);  // a word that is no command is then named as such
  app.set_version_flag("--version", std::string(UM_VERSION));
  std::unique_ptr<unimax::Command> commands[] = {
      unimax::AddRun(app),    unimax::AddChat(app),     unimax::AddInspect(app), unimax::AddEval(app),
      unimax::AddBench(app),  unimax::AddSelftest(app), unimax::AddTune(app),    unimax::AddTokenize(app),
      unimax::AddRender(app), unimax::AddVerify(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    app.exit(error);
    return asked ? 0 : static_cast<int>(unimax::ErrorKind::kUsage);
  }
  for (const std::unique_ptr<unimax::Command>& command : commands) {
    if (!command->app().parsed()) continue;
    unimax::Status status = command->Act();
    if (status.ok() && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)) {
      status = unimax::IoError("cannot write to stdout: is the disk full?");
    }
    if (status.ok()) return 0;
    std::fprintf(stderr, "unimax: %.*s\n", static_cast<int>(status.text().size()), status.text().data());
    return status.exit_status();
  }
  std::fprintf(stderr, "unimax: give a command, such as run; unimax --help lists them\n");
  return static_cast<int>(unimax::ErrorKind::kUsage);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "unimax: out of memory\n");
    return static_cast<int>(unimax::ErrorKind::kIo);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "unimax: internal error: %s\n", error.what());
    return static_cast<int>(unimax::ErrorKind::kInternal);
  }
}
