// SPDX-License-Identifier: Apache-2.0
#include "cli/kept_prompt.h"

#include "base/log.h"

namespace unimax {

void KeptPrompt::AddFlag(CLI::App& app, std::string& path) {
  app.add_option("--prompt-cache", path,
                 "a file that keeps the prompt's keys and values: what the next prompt shares with it is not computed "
                 "again");
}

Status KeptPrompt::Create() { return path_.empty() ? Status() : cache_.Create(path_); }

Status KeptPrompt::Restore(Engine& engine, Model& model, std::span<const int> prompt, int max_new) {
  if (path_.empty()) return {};
  UM_ASSIGN_OR_RETURN(const PromptCache::Restored restored, cache_.Restore(engine, model, prompt, max_new));
  restored_ = restored.tokens;
  if (restored.odd) LogWarning("prompt cache not used: {}", restored.text);
  if (!restored.odd) LogInfo("prompt cache: {}", restored.text);
  return {};
}

Status KeptPrompt::Save(Engine& engine, Model& model, std::span<const int> prompt, int max_new) {
  if (path_.empty()) return {};
  UM_ASSIGN_OR_RETURN(const int tokens, cache_.Save(engine, model, prompt, max_new));
  LogInfo("prompt cache: {}: {} of {} prompt tokens are kept", path_, tokens, prompt.size());
  return {};
}

}  // namespace unimax
