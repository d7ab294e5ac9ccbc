// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/input.h"
#include "engine/model_cache.h"
#include "engine/model_text.h"

namespace unimax {
namespace {

constexpr size_t kMaxInput = 256u << 20;

struct RenderOptions {
  std::string model, template_file, messages, tools, variables, bos, eos;
  bool no_generation_prompt = false, ids = false, json = false;
  int repeat = 1;
  int64_t now = -1;
};

// A file of JSON, whose kind is checked before the template sees it; "" when there is none.
Result<std::string> ReadJson(const std::string& path, bool list) {
  if (path.empty()) return std::string();
  UM_ASSIGN_OR_RETURN(std::string text, ReadInput(path, kMaxInput));
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || text[first] != (list ? '[' : '{'))
    return UsageError("{}: not a JSON {}", path, list ? "list" : "object");
  if (!nlohmann::json::accept(text)) return UsageError("{}: not JSON", path);
  return text;
}

Result<ModelText> Open(const RenderOptions& options) {
  ModelText text;
  if (!options.model.empty()) {
    UM_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
    UM_ASSIGN_OR_RETURN(text, OpenModelText(path));
  }
  if (options.template_file.empty()) {
    UM_RETURN_IF_ERROR(text.chat_error.At(options.model));
  } else {
    UM_ASSIGN_OR_RETURN(std::string source, ReadInput(options.template_file, kMaxInput));
    auto made = ChatTemplate::Parse(std::move(source));
    if (!made.ok()) return made.status().At(options.template_file);
    text.chat_template = std::move(made).value();
  }
  if (!text.chat_template) return BadModel("{}: the model has no chat template; give --template", options.model);
  return text;
}

Status Render(const RenderOptions& options) {
  if (options.model.empty() && options.template_file.empty()) return UsageError("give a model or --template, or both");
  ChatInput input;
  UM_ASSIGN_OR_RETURN(input.messages_json, ReadJson(options.messages, true));
  UM_ASSIGN_OR_RETURN(input.tools_json, ReadJson(options.tools, true));
  UM_ASSIGN_OR_RETURN(input.extra_json, ReadJson(options.variables, false));
  UM_ASSIGN_OR_RETURN(const ModelText text, Open(options));
  if (options.ids && text.tokenizer == nullptr) return UsageError("--ids needs a model with a tokenizer");
  input.add_generation_prompt = !options.no_generation_prompt;
  input.bos_token = options.bos.empty() ? text.bos_token : options.bos;
  input.eos_token = options.eos.empty() ? text.eos_token : options.eos;
  input.now = options.now;
  std::vector<double> times;
  Rendered rendered;
  for (int i = 0; i < options.repeat; ++i) {
    const double start = NowMilliseconds();
    UM_ASSIGN_OR_RETURN(rendered, text.chat_template->Render(input));
    times.push_back(NowMilliseconds() - start);
  }
  std::vector<int> ids;
  if (options.ids) ids = text.EncodeChat(rendered, input.add_generation_prompt);
  if (options.json) {
    std::vector<std::string> ranges;
    for (const Rendered::Range& r : rendered.untrusted) ranges.push_back(fmt::format("[{}, {}]", r.begin, r.end));
    std::sort(times.begin(), times.end());
    PrintLine(fmt::format("{{\"text\": {}, \"untrusted\": [{}], {}\"ms\": {:.4f}, \"best_ms\": {:.4f}}}",
                          JsonString(rendered.text), fmt::join(ranges, ", "),
                          options.ids ? fmt::format("\"ids\": [{}], ", fmt::join(ids, ", ")) : "",
                          times[times.size() / 2], times[0]));
  } else if (options.ids) {
    PrintLine(fmt::format("{}", fmt::join(ids, " ")));
  } else {
    std::fwrite(rendered.text.data(), 1, rendered.text.size(), stdout);  // not a byte more
  }
  return {};
}

}  // namespace

std::unique_ptr<Command> AddRender(CLI::App& app) {
  auto command = std::make_unique<CommandOf<RenderOptions>>(
      app.add_subcommand("render", "show the prompt that a conversation becomes"), &Render);
  CLI::App* render = &command->app();
  RenderOptions& options = command->options();
  render->footer(
      "Examples:\n  echo '[{\"role\": \"user\", \"content\": \"Hello\"}]' | unimax render demo\n"
      "  unimax render demo --messages chat.json --tools tools.json --ids\n"
      "  unimax render --template chat_template.jinja --messages chat.json --no-generation-prompt\n"
      "Messages are a JSON list of objects, tools a list; \"untrusted\" of --json are the bytes [begin, end) of the\n"
      "text that came from them, in which no control token is matched.");
  render->add_option("model", options.model, "a file, a folder, or a name in the model cache");
  render->add_option("--template", options.template_file, "a file with a chat template, instead of the model's");
  render->add_option("--messages", options.messages, "a JSON list of messages; - for stdin")->default_str("-");
  options.messages = "-";
  render->add_option("--tools", options.tools, "a JSON list of tools");
  render->add_option("--variables", options.variables, "a JSON object: more variables for the template");
  render->add_option("--bos", options.bos, "what templates see as bos_token, instead of the model's");
  render->add_option("--eos", options.eos, "likewise eos_token");
  render->add_flag("--no-generation-prompt", options.no_generation_prompt, "end after the last message");
  render->add_option("--now", options.now, "the clock of strftime_now, seconds since 1970; -1: the local time")
      ->capture_default_str();
  render->add_flag("--ids", options.ids, "token ids instead of text");
  render->add_flag("--json", options.json, "one JSON object instead of text, with the time a rendering takes");
  render->add_option("--repeat", options.repeat, "renderings, for timing")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  return command;
}

}  // namespace unimax
