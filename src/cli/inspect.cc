// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/command.h"

namespace unimax {
namespace {

struct InspectOptions {
  ModelOptions model;
  bool program = false, tensors = false, json = false;
  int tokens = 1, context = 1024;
};

std::string ShapeText(const TensorView& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

// Bytes of a weight element: the mean over the file, so that the sum is right where types are mixed.
CostTypes TypesOf(const Model& model) {
  CostTypes types;
  if (model.checkpoint() == nullptr) return types;
  double bytes = 0, elements = 0;
  for (const TensorView& tensor : model.checkpoint()->tensors()) {
    const DTypeInfo& info = Info(tensor.type);
    bytes += static_cast<double>(tensor.bytes.size());
    elements += static_cast<double>(tensor.bytes.size()) / info.block_bytes * info.block_elements;
  }
  if (elements > 0) types.weight_element = bytes / elements;
  return types;
}

// What the model's authors gave for drawing tokens, as (name, value).
std::vector<std::pair<std::string_view, std::string>> SamplingRows(const SamplingDefaults& s) {
  std::vector<std::pair<std::string_view, std::string>> rows;
  const auto add = [&](std::string_view name, const auto& value) {
    if (value) rows.emplace_back(name, fmt::format("{}", *value));
  };
  add("do_sample", s.sample);
  add("temperature", s.temperature);
  add("top_k", s.top_k);
  add("top_p", s.top_p);
  add("min_p", s.min_p);
  add("repetition_penalty", s.repetition_penalty);
  add("max_new_tokens", s.max_new_tokens);
  return rows;
}

std::string Quoted(std::string_view text) { return JsonString(std::string(text)); }

std::vector<int> SpecialIds(const Tokenizer& tokenizer) {
  std::vector<int> ids;
  for (int id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.IsControl(id)) ids.push_back(id);
  return ids;
}

// The members of the JSON object that are about text; null where there is nothing.
std::string TextJson(const ModelText& text) {
  std::string out = "\"tokenizer\": null";
  if (text.tokenizer != nullptr) {
    std::vector<std::string> special;
    for (const int id : SpecialIds(*text.tokenizer)) {
      special.push_back(fmt::format("{{\"id\": {}, \"text\": {}}}", id, Quoted(text.tokenizer->PieceOf(id))));
    }
    out = fmt::format(
        "\"tokenizer\": {{\"kind\": {}, \"vocab\": {}, \"bos\": {}, \"eos\": {}, \"before\": [{}], \"after\": "
        "[{}], \"special\": [{}]}}",
        Quoted(text.kind), text.tokenizer->vocab_size(), Quoted(text.bos_token), Quoted(text.eos_token),
        fmt::join(text.before, ", "), fmt::join(text.after, ", "), fmt::join(special, ", "));
  }
  if (text.chat_from.empty()) {
    out += ", \"chat_template\": null";
  } else {
    out += fmt::format(", \"chat_template\": {{\"from\": {}, \"usable\": {}, \"error\": {}}}", Quoted(text.chat_from),
                       text.chat_template.has_value(), text.chat_error.ok() ? "null" : Quoted(text.chat_error.text()));
  }
  std::vector<std::string> sampling;
  for (const auto& [name, value] : SamplingRows(text.sampling)) sampling.push_back(Quoted(name) + ": " + value);
  return out + fmt::format(", \"sampling\": {{{}}}", fmt::join(sampling, ", "));
}

void PrintText(const ModelText& text) {
  constexpr size_t kShown = 12;  // special tokens
  if (text.tokenizer == nullptr) {
    PrintLine("tokenizer none");
  } else {
    const std::vector<int> ids = SpecialIds(*text.tokenizer);
    std::string special;
    for (size_t i = 0; i < std::min(ids.size(), kShown); ++i)
      special += fmt::format("{}{} {}", i > 0 ? ", " : ": ", text.tokenizer->PieceOf(ids[i]), ids[i]);
    if (ids.size() > kShown) special += fmt::format(" and {} more", ids.size() - kShown);
    PrintLine(fmt::format("tokenizer {}, {} tokens, {} special{}", text.kind, text.tokenizer->vocab_size(), ids.size(),
                          special));
    PrintLine(
        fmt::format("before a text [{}], after it [{}]", fmt::join(text.before, ", "), fmt::join(text.after, ", ")));
  }
  if (text.chat_from.empty()) {
    PrintLine("chat template none");
  } else if (text.chat_error.ok()) {
    PrintLine(fmt::format("chat template from {}", text.chat_from));
  } else {
    PrintLine(fmt::format("chat template from {}, unusable: {}", text.chat_from, text.chat_error.text()));
  }
  std::string sampling;
  for (const auto& [name, value] : SamplingRows(text.sampling))
    sampling += fmt::format("{}{} {}", sampling.empty() ? "" : ", ", name, value);
  PrintLine("sampling defaults " + (sampling.empty() ? std::string("none") : sampling));
}

Status Inspect(const InspectOptions& options) {
  if (options.model.model.empty() == options.model.config.empty()) {
    return UsageError("give a model or --config config.json, one of them");
  }
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(options.model));
  const ModelConfig& c = model->config();
  uint64_t parameters = 0;
  for (const Weight& w : model->program().weights)
    parameters += static_cast<uint64_t>(w.rows) * static_cast<uint64_t>(w.cols);
  if (options.json) {
    PrintLine(fmt::format(
        "{{\"architecture\": {}, \"layers\": {}, \"hidden\": {}, \"heads\": {}, \"kv_heads\": {}, "
        "\"head_dim\": {}, \"intermediate\": {}, \"vocab\": {}, \"context\": {}, \"parameters\": {}, "
        "\"file_bytes\": {}, {}}}",
        JsonString(c.architecture), c.layers, c.hidden, c.heads, c.kv_heads, c.head_dim, c.intermediate, c.vocab,
        c.context, parameters, model->checkpoint() ? model->checkpoint()->file_bytes() : 0, TextJson(model->text())));
    return {};
  }
  PrintLine(fmt::format(
      "architecture {}, {} parameters\nlayers {}, hidden {}, heads {} ({} for K and V) of {}, feed-forward {}\n"
      "vocabulary {}, context {}, embeddings {}",
      c.architecture, parameters, c.layers, c.hidden, c.heads, c.kv_heads, c.head_dim, c.intermediate, c.vocab,
      c.context, c.tied_embeddings ? "tied" : "not tied"));
  PrintText(model->text());
  if (options.tensors && model->checkpoint() != nullptr) {
    for (const TensorView& tensor : model->checkpoint()->tensors()) {
      PrintLine(fmt::format("{:<48} {:<5} {:<16} {:>12}", tensor.name, Info(tensor.type).name, ShapeText(tensor),
                            tensor.bytes.size()));
    }
  }
  if (options.program) PrintLine(Print(model->program(), options.tokens, options.context, TypesOf(*model)));
  return {};
}

}  // namespace

std::unique_ptr<Command> AddInspect(CLI::App& app) {
  auto command = std::make_unique<CommandOf<InspectOptions>>(
      app.add_subcommand("inspect", "say what a model file holds"), &Inspect);
  CLI::App* inspect = &command->app();
  InspectOptions& options = command->options();
  inspect->footer(
      "Examples:\n  unimax inspect demo\n  unimax inspect model.gguf --tensors\n"
      "  unimax inspect demo --program --context 1024\n  unimax inspect --config config.json --program");
  inspect->add_option("model", options.model.model, "a file, a folder, or a name in the model cache");
  inspect->add_option("--config", options.model.config, "a config.json instead of a model");
  inspect->add_flag("--program", options.program, "the model's program: ops, shapes, bytes and FLOPs");
  inspect->add_option("--tokens", options.tokens, "tokens of the step whose costs are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  inspect->add_option("--context", options.context, "cached tokens of that step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  inspect->add_flag("--tensors", options.tensors, "every tensor of the file");
  inspect->add_flag("--json", options.json, "one JSON object instead of text");
  return command;
}

}  // namespace unimax
