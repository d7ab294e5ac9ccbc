// SPDX-License-Identifier: Apache-2.0
// --prompt-cache FILE of run and chat: engine/prompt_cache.h with its flag and its lines in the log. Where no file was
// named nothing happens.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>

#include "engine/prompt_cache.h"

namespace unimax {

class KeptPrompt {
 public:
  static void AddFlag(CLI::App& app, std::string& path);

  explicit KeptPrompt(const std::string& path) : path_(path) {}
  // Before the work whose result it takes. Errors: kIo.
  Status Create();
  // Before the first request with `prompt`, and after its end. A miss is a line in the log; a damaged or foreign file
  // is a warning. Errors: of the executor; kIo where the file cannot be written.
  Status Restore(Engine& engine, Model& model, std::span<const int> prompt, int max_new);
  Status Save(Engine& engine, Model& model, std::span<const int> prompt, int max_new);
  int restored() const { return restored_; }  // tokens

 private:
  const std::string path_;
  PromptCache cache_;
  int restored_ = 0;
};

}  // namespace unimax
