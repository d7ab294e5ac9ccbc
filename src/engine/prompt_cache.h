// SPDX-License-Identifier: Apache-2.0
// `--prompt-cache FILE`: the keys and values of a prompt's full pages, kept from one start of the program to the next
// (kv_file.h is the format). What does not agree is a miss: the prompt is computed, and one sentence says why.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/new_file.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/kv_file.h"
#include "engine/model.h"

namespace unimax {

// Of a model's weights, without reading them all: of each tensor its name, type, shape and length, and the content of
// its first, middle and last 4 KiB (of all where it has no more than 16 KiB); of each file its length and when it was
// last written, which stands for what was not read. A copy of a file is another file unless it keeps that time.
Sha256Digest WeightsDigest(const Model& model);

// Of all in a program that decides what it computes, the rotary frequencies included; of weights their names and
// shapes.
Sha256Digest ProgramDigest(const Program& program);

// All but rope_set, which depends on the sequence.
KvKind KvKindOf(Model& model);

class PromptCache {
 public:
  // Makes sure that a file can be put at `path`. Errors: kIo.
  Status Create(const std::string& path);

  struct Restored {
    int tokens = 0;    // in the prefix cache now: EndEvent::cached_tokens of the next request with this prompt
    bool odd = false;  // a miss that is worth a warning: there is a file, but it is not for this model, or damaged
    std::string text;  // one sentence: what was restored, or why nothing was
  };
  // Before the first request with `prompt`. Errors: of the executor alone.
  Result<Restored> Restore(Engine& engine, Model& model, std::span<const int> prompt, int max_new);
  // After the request has ended. Puts a new file in the old one's place, unless that holds all that can be saved
  // already. The tokens that the file now holds of the prompt. Errors: kIo; of the executor. Once.
  Result<int> Save(Engine& engine, Model& model, std::span<const int> prompt, int max_new);

 private:
  KvKind KindFor(Model& model, std::span<const int> prompt, int max_new);

  std::string path_;
  NewFile file_{"prompt cache", 0600};  // it holds the prompt
  std::optional<KvKind> kind_;          // of the model; once made
  std::vector<int> restored_ids_;       // whole pages
};

}  // namespace unimax
