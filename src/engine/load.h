// SPDX-License-Identifier: Apache-2.0
// Load on an engine: requests of random ids that arrive by a Poisson process or as soon as others end, and what their
// clients see. Figures and their names are those of vLLM's serving benchmark (benchmarks/benchmark_serving.py), so that
// results stand side by side.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace unimax {

struct LoadOptions {
  int requests = 100;
  double rate = 0;          // arrivals a second, exponential gaps; 0: all at once
  int concurrency = 0;      // requests at the same time at most; 0: no bound
  int prompt_tokens = 128;  // of each prompt, the shared prefix included
  int new_tokens = 64;      // of each answer; end ids are ignored
  double spread = 0;        // lengths are uniform in [(1 - spread) * mean, (1 + spread) * mean]
  int shared_prefix = 0;    // the first tokens, the same in all prompts
  double temperature = 0;   // 0: greedy
  int top_k = 0;            // 0: all
  double top_p = 1;
  uint64_t seed = 0;  // of ids, lengths, gaps and draws
};

struct Summary {
  double mean = 0, median = 0, std = 0, p90 = 0, p99 = 0;
};

// Times in milliseconds as the client sees them, from sending on.
struct LoadResult {
  int completed = 0, failed = 0;
  std::string error;  // of the first that failed
  double seconds = 0;
  int64_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;
  int max_concurrent = 0;  // requests that were under way at the same time
  Summary ttft;            // to the first token
  Summary tpot;            // per token after the first, one value a request
  Summary itl;             // between tokens, one value a token
  Summary e2el;            // to the end
  uint64_t ids_hash = 0;   // over all answers in the order of requests: equal loads give equal ids
};

// Of values in any order; percentiles lie between neighbours in proportion, as numpy's do. Zeros where there are none.
Summary Summarise(std::vector<double> values);

// Seconds from the arrival of request `i` - 1 to that of request `i`: exponential, 1 / rate on average.
double ArrivalGap(const LoadOptions& options, int i);

// `progress` hears (completed, of) now and then, on the calling thread; may be null. Errors: kUsage for lengths that do
// not fit; kNoDevice when the engine fails.
Result<LoadResult> RunLoad(Engine& engine, int vocabulary, const LoadOptions& options,
                           const std::function<void(int, int)>& progress);

}  // namespace unimax
