// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/progress.h"

namespace unimax {

void AddModelOptions(CLI::App& app, ModelOptions& options, bool model_required) {
  auto* model = app.add_option("model", options.model,
                               "a GGUF or safetensors file, a folder, or a name in the model cache (demo)");
  if (model_required) model->required();
  app.add_option("--device", options.device, "auto, cpu, cuda[:N], hip[:N], emulator or emulator64")
      ->capture_default_str();
  app.add_option("--isa", options.isa, "CPU instructions: auto, generic, avx2 or avx512")->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: every core this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_option("--dtype", options.dtype, "activations: auto, f32, bf16 or f16 (CPU: auto or f32)")
      ->capture_default_str();
  app.add_option("--context", options.context, "tokens of prompt and answer; 0: the model's, at most 4096")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_flag("--deterministic", options.deterministic,
               "the same bits alone, in any batch, chunked or cached, with any number of threads");
  app.add_option("--executor", options.executor,
                 "auto; graph or stream: how a GPU takes decode steps; reference: every op in double, slowly")
      ->capture_default_str();
  app.add_option("--phi", options.phi, "with --force attention=unified: a file of eval --measure-phi");
  app.add_option("--force", options.force,
                 "rows of the kernel table in place of the plan's: attention=lazy,linear=tiled");
  app.add_option("--plan", options.plan,
                 "a table of unimax tune; none: leave out the one that is kept for this device");
}

Result<std::unique_ptr<Model>> LoadModel(ModelOptions options, bool show) {
  options.loading = LoadingLine(show);
  return Model::Load(options);
}

std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void PrintLine(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

}  // namespace unimax
