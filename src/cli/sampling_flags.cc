// SPDX-License-Identifier: Apache-2.0
#include "cli/sampling_flags.h"

#include <algorithm>
#include <random>

namespace unimax {
namespace {

// What a model means that names a temperature and does not forbid to draw.
double DefaultTemperature(const SamplingDefaults& d) {
  if (!d.sample.value_or(d.temperature.has_value())) return 0;
  return d.temperature.value_or(1.0);
}

uint64_t AnySeed() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 32 | random()) >> 11;  // exact as a JSON number, too
}

}  // namespace

void AddSamplingFlags(CLI::App& app, SamplingFlags& flags) {
  const std::string group = "Sampling (default: as the model's generation_config.json says, else greedy)";
  const auto number = [&](const char* name, std::optional<double>& value, const char* text, double low, double high) {
    app.add_option(name, value, text)->check(CLI::Range(low, high))->group(group);
  };
  app.add_option("-n,--max-new-tokens", flags.max_new, "tokens of the answer (default 128)")
      ->check(CLI::Range(1, 1 << 24))
      ->group(group);
  number("--temperature", flags.temperature, "0: always the likeliest token", 0, 100);
  app.add_option("--top-k", flags.top_k, "draw from the K likeliest; 0: from all")
      ->check(CLI::Range(0, 1 << 24))
      ->group(group);
  number("--top-p", flags.top_p, "draw from the likeliest whose shares sum to P", 0, 1);
  number("--min-p", flags.min_p, "drop what is less likely than P times the likeliest", 0, 1);
  number("--typical-p", flags.typical_p, "draw from those nearest to the entropy whose shares sum to P", 0, 1);
  number("--repetition-penalty", flags.repetition_penalty, "above 1: against all tokens so far", 0.01, 100);
  number("--frequency-penalty", flags.frequency_penalty, "against new tokens, by their count", -100, 100);
  number("--presence-penalty", flags.presence_penalty, "against new tokens", -100, 100);
  app.add_option("--no-repeat-ngram", flags.no_repeat_ngram, "no run of N tokens twice; 0: off")
      ->check(CLI::Range(0, 1024))
      ->group(group);
  app.add_option("--seed", flags.seed, "of the draws; the same seed gives the same answer (default: a fresh one)")
      ->group(group);
  app.add_option("--stop", flags.stops, "a text that ends the answer and is not part of it; may be repeated")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--stop-ids", flags.stop_ids, "token ids that end the answer, a list")->delimiter(',')->group(group);
  app.add_option("--min-new-tokens", flags.min_new, "no end before so many tokens")
      ->check(CLI::Range(0, 1 << 24))
      ->group(group);
}

Result<SamplingParams> SamplingOf(const SamplingFlags& flags, const Model& model) {
  const SamplingDefaults& d = model.text().sampling;
  SamplingParams p;
  p.temperature = flags.temperature.value_or(DefaultTemperature(d));
  p.top_k = flags.top_k.value_or(d.top_k.value_or(0));
  p.top_p = flags.top_p.value_or(d.top_p.value_or(1.0));
  p.min_p = flags.min_p.value_or(d.min_p.value_or(0.0));
  p.typical_p = flags.typical_p.value_or(1.0);
  p.repetition_penalty = flags.repetition_penalty.value_or(d.repetition_penalty.value_or(1.0));
  p.frequency_penalty = flags.frequency_penalty.value_or(0.0);
  p.presence_penalty = flags.presence_penalty.value_or(0.0);
  p.no_repeat_ngram = flags.no_repeat_ngram;
  p.min_new = flags.min_new;
  for (const int id : model.config().eos_ids) {  // some name ids that they do not have
    if (id < model.config().vocab) p.end_ids.push_back(id);
  }
  p.end_ids.insert(p.end_ids.end(), flags.stop_ids.begin(), flags.stop_ids.end());
  p.seed = flags.seed ? *flags.seed : AnySeed();
  UM_RETURN_IF_ERROR(CheckSampling(p, model.config().vocab));
  return p;
}

Result<int> MaxNewOf(const SamplingFlags& flags, const Model& model, int prompt, int fallback) {
  const int room = model.context() - prompt;
  if (room < 1) {
    return UsageError(
        "the prompt has {} tokens, the context {}: shorten the prompt or raise --context (the model's own is {})",
        prompt, model.context(), model.config().context);
  }
  return std::min(room, flags.max_new.value_or(model.text().sampling.max_new_tokens.value_or(fallback)));
}

}  // namespace unimax
