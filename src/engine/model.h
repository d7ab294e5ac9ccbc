// SPDX-License-Identifier: Apache-2.0
// A model made ready to run: its file, text tools, program, device and executor.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/model_config.h"
#include "device/device.h"
#include "engine/model_text.h"
#include "engine/page_key.h"
#include "exec/executor.h"
#include "exec/plan_files.h"
#include "program/program.h"
#include "weights/checkpoint.h"
#include "weights/weight_source.h"

namespace unimax {

struct ModelOptions {
  std::string model;              // a file, a folder, or a name in the model cache ("demo")
  std::string config;             // instead of a model: a config.json whose weights are made of random numbers
  std::string device = "auto";    // as ParseDevice
  std::string executor = "auto";  // "auto": the device's own; "reference": every op in double
  std::string isa = "auto";       // CPU: "generic", "avx2", "avx512"
  std::string dtype = "auto";     // "f32", "bf16", "f16"; auto: as the checkpoint
  int threads = 0;                // CPU: 0 means all cores this process may use
  int context = 0;                // tokens of a sequence: prompt and answer; 0 means min(the model's, 4096)
  int sequences = 1;              // sequences at once
  int outputs = 0;                // rows of a step whose logits are wanted; 0: one a sequence
  int max_tokens = 512;           // tokens of one step
  std::string force;              // GPUs: rows of the kernel table, as ParseForced; then no step is one launch
  bool note_times = false;        // GPUs: Executor::StageTimes
  bool note_scores = false;       // GPUs: Executor::LargestScores
  std::string phi;                // GPUs: a file of eval --measure-phi, for --force attention=unified
  std::string plan;               // GPUs: a table of measured rows, as FindPlan
  LoadingProgress loading = {};   // hears of the weights on their way
  bool deterministic = false;     // the bits of a row's logits depend on its own history alone
};

class Model {
 public:
  // Errors: kUsage for options, kIo and kBadModel for files, kNoDevice for devices.
  static Result<std::unique_ptr<Model>> Load(const ModelOptions& options);
  // Only what the file says: no device, no executor.
  static Result<std::unique_ptr<Model>> Open(const ModelOptions& options);

  // An executor for another program over the same weights (eval --check runs prefixes).
  // `threads`: of the CPU, 0: as the options say.
  Result<std::unique_ptr<Executor>> MakeExecutor(const Program& program, const std::string& executor, int threads = 0);
  // Gives the executor's memory back; executor() must not be called any more.
  void DropExecutor() { executor_.reset(); }

  const ModelConfig& config() const { return config_; }
  const Program& program() const { return program_; }
  const Checkpoint* checkpoint() const { return checkpoint_ ? &*checkpoint_ : nullptr; }  // null: random weights
  Executor& executor() { return *executor_; }
  Device* device() { return device_.get(); }                            // null: the CPU
  const Tokenizer* tokenizer() const { return text_.tokenizer.get(); }  // null: the model has none
  const ModelText& text() const { return text_; }
  const ExecutorOptions& limits() const { return limits_; }
  int context() const { return context_; }
  // Of activations on a device: what --dtype said, or as the checkpoint has it.
  DType DeviceType() const;
  const std::string& device_note() const { return device_note_; }
  // What decides the bits in a page of keys and values besides its ids.
  PrefixScope prefix_scope() const;

  // The prompt's ids: as a user message through the model's chat template, or raw text. Errors: kBadModel.
  Result<std::vector<int>> EncodePrompt(const std::string& prompt, bool raw) const;
  // The ids of a conversation, open for an answer. Without a template its texts stand one after the other, a line each.
  Result<std::vector<int>> EncodeMessages(const std::vector<Message>& messages) const;
  bool EndsAt(int id) const;

 private:
  Status LoadText();
  Status CheckIds(const std::vector<int>& ids) const;
  // The type of the checkpoint's largest tensor; of random weights bf16 or what --dtype said.
  DType main_type() const;
  ModelOptions options_;
  ModelConfig config_;
  Program program_;
  std::optional<Checkpoint> checkpoint_;
  std::unique_ptr<WeightSource> source_;
  std::optional<PlanTable> plan_;
  ModelText text_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Executor> executor_;
  ExecutorOptions limits_;
  int context_ = 0;
  std::string device_note_;
};

}  // namespace unimax
