// What decode_bench and prefill_bench share: the model, the engines, and how many bytes and operations a step costs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/engine.h"

namespace switchyard {

struct ModelBenchOptions {
  std::string model_dir;  // empty: a random model of 1.15 billion parameters, made once in a temporary directory
  std::vector<int> ranks = {1, 2};
  int threads = 2;  // of all ranks together
};

// Command line: [--model DIR] [--ranks 1,2] [--threads N]; prints what is wrong and ends the process otherwise.
ModelBenchOptions ParseModelBenchOptions(int argc, char** argv);

// The directory of the model to measure, made if need be.
std::string PrepareModel(const ModelBenchOptions& options);

std::unique_ptr<Engine> StartBenchEngine(const ModelBenchOptions& options, const std::string& model_dir, int ranks,
                                         int64_t max_batch_tokens);

// Bytes of weights that a decode step of `batch` sequences must read at least: attention, router, language-model head,
// and the experts that the batch is expected to touch if tokens choose experts evenly and independently:
// E (1 - (1 - k/E)^batch). Keys and values of `context` positions per sequence come on top (float32).
double DecodeBytes(const DecoderSpec& spec, int64_t batch, int64_t context);

// Multiplications and additions that a prompt of `tokens` needs: 2 per weight that a token meets, 4 * heads * head_dim
// per pair of positions and layer, and the language-model head for the last token only.
double PrefillFlops(const DecoderSpec& spec, int64_t tokens);

// Runs `batch` requests of `prompt` random tokens each until every one has `generate` tokens; no two share a prompt.
struct RunTimes {
  absl::Duration first_token;  // submission to the first token of the last request
  absl::Duration decode;       // from then to the last token of all
  int64_t decode_steps = 0;    // tokens per sequence in `decode`
};
RunTimes RunBatch(Engine& engine, int64_t batch, int64_t prompt, int64_t generate);

}  // namespace switchyard
