// The whole engine on GPUs against reference log-probabilities and greedy continuations of another implementation: one
// body for emulated GPUs (emulated_engine_test.cc) and real ones (gpu_engine_test.cc), which differ in speed, cuBLASLt
// and NCCL only.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "engine/engine_config.h"

namespace switchyard {

struct DeviceEngineCase {
  std::string checkpoint;  // a folder of tests/golden, or "tiny-mixtral": the bundled model
  int ranks = 1;
  AttentionParallelism attention = AttentionParallelism::kReplicated;
  std::optional<ExchangeStrategy> exchange;
  bool graphs = true;
  bool staged = false;
  DType dtype = DType::kFloat16;
};
std::string Describe(const DeviceEngineCase& c);  // "top2_of_8_2_ranks_replicated_all_gather"; fit to name a test
void PrintTo(const DeviceEngineCase& c, std::ostream* out);

// Every golden checkpoint under `source_dir` and the bundled model, over ranks, attention, exchange, dtype.
std::vector<DeviceEngineCase> DeviceEngineCases(const std::string& source_dir);

// What differs between emulated and real GPUs.
struct DeviceEngineSetting {
  std::string source_dir;        // holds tests/golden and models
  int num_gpus = 1;              // rank i is on GPU i % num_gpus
  int max_sequences = 1000;      // the longest, of those that are scored
  int max_scored_tokens = 1000;  // of each sequence
  int max_generated_tokens = 1000;
  int64_t max_batch_tokens = 2048;
};

// Starts an engine and expects scores and greedy tokens as far as rounding cannot change them, and all pages
// free at the end. Prints how far the scores were off.
void ExpectScoresAndContinuationsOfTheReference(const DeviceEngineCase& c, const DeviceEngineSetting& setting);

}  // namespace switchyard
