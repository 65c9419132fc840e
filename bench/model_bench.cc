#include "bench/model_bench.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/synthetic_checkpoint.h"

namespace switchyard {
namespace {

double AttentionWeights(const DecoderSpec& spec) {
  const double head_rows = static_cast<double>(2 * spec.num_heads + 2 * spec.num_kv_heads);
  return head_rows * static_cast<double>(spec.head_dim * spec.hidden_size);
}

double ExpertWeightCount(const DecoderSpec& spec) {
  return 3.0 * static_cast<double>(spec.hidden_size * spec.expert_intermediate_size);
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

}  // namespace

ModelBenchOptions ParseModelBenchOptions(int argc, char** argv) {
  ModelBenchOptions options;
  CLI::App app("Measures the engine on the CPU beside the limits of this machine.");
  app.add_option("--model", options.model_dir, "model directory; default: a random one of 1.15 billion parameters");
  app.add_option("--ranks", options.ranks, "numbers of ranks to measure")->delimiter(',')->capture_default_str();
  app.add_option("--threads", options.threads, "threads of all ranks together")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

std::string PrepareModel(const ModelBenchOptions& options) {
  if (!options.model_dir.empty()) return options.model_dir;
  const std::string directory = std::filesystem::temp_directory_path() / "switchyard-bench-1.15b";
  if (std::filesystem::exists(directory + "/complete")) return directory;
  std::printf("writing a random model of 1.15 billion parameters to %s\n", directory.c_str());
  const absl::Status status = WriteSyntheticCheckpoint({.vocab_size = 32000,
                                                        .hidden_size = 1024,
                                                        .intermediate_size = 3584,
                                                        .num_layers = 12,
                                                        .num_heads = 16,
                                                        .num_kv_heads = 4,
                                                        .num_experts = 8,
                                                        .experts_per_token = 2,
                                                        .max_position_embeddings = 4096,
                                                        .num_files = 2},
                                                       directory);
  if (!status.ok()) Die(status);
  std::fclose(std::fopen((directory + "/complete").c_str(), "w"));
  return directory;
}

std::unique_ptr<Engine> StartBenchEngine(const ModelBenchOptions& options, const std::string& model_dir, int ranks,
                                         int64_t max_batch_tokens) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create({.model_dir = model_dir,
                                                                   .num_local_ranks = ranks,
                                                                   .num_threads = options.threads,
                                                                   .max_batch_tokens = max_batch_tokens},
                                                                  [](const StartupProgress&) {});
  if (!engine.ok()) Die(engine.status());
  return *std::move(engine);
}

double DecodeBytes(const DecoderSpec& spec, int64_t batch, int64_t context) {
  const double experts = static_cast<double>(spec.num_experts);
  const double untouched = std::pow(1.0 - static_cast<double>(spec.experts_per_token) / experts, batch);
  const double per_layer = AttentionWeights(spec) + experts * static_cast<double>(spec.hidden_size) +
                           experts * (1.0 - untouched) * ExpertWeightCount(spec);
  const double weights =
      static_cast<double>(spec.num_layers) * per_layer + static_cast<double>(spec.vocab_size * spec.hidden_size);
  const double kv = 2.0 * static_cast<double>(spec.num_layers * spec.num_kv_heads * spec.head_dim) *
                    static_cast<double>(batch * context) * sizeof(float);
  return weights * static_cast<double>(SizeOf(spec.weight_dtype)) + kv;
}

double PrefillFlops(const DecoderSpec& spec, int64_t tokens) {
  const double n = static_cast<double>(tokens);
  const double per_token = AttentionWeights(spec) + static_cast<double>(spec.num_experts * spec.hidden_size) +
                           static_cast<double>(spec.experts_per_token) * ExpertWeightCount(spec);
  const double pairs = n * (n + 1) / 2;
  return static_cast<double>(spec.num_layers) *
             (2 * per_token * n + 4 * static_cast<double>(spec.num_heads * spec.head_dim) * pairs) +
         2 * static_cast<double>(spec.vocab_size * spec.hidden_size);
}

RunTimes RunBatch(Engine& engine, int64_t batch, int64_t prompt, int64_t generate) {
  static std::mt19937 random(17);
  const int64_t vocab = engine.model_info().spec.vocab_size;
  std::mutex mu;
  std::condition_variable done;
  int64_t num_unfinished = batch, num_without_token = batch;
  absl::Time first_token;
  std::vector<int64_t> tokens_after_first(static_cast<size_t>(batch), 0);
  const absl::Time start = absl::Now();
  for (int64_t i = 0; i < batch; ++i) {
    GenerationRequest request;
    request.id = absl::StrCat("bench ", i);
    for (int64_t t = 0; t < prompt; ++t) {
      request.prompt.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab)));
    }
    request.sampling.temperature = 0;
    request.stop.max_tokens = static_cast<int32_t>(generate);
    request.stop.ignore_eos = true;
    request.detokenize = false;
    bool has_token = false;
    const absl::Status status = engine.Submit(std::move(request), [&, i, has_token](RequestUpdate update) mutable {
      const std::lock_guard lock(mu);
      if (!update.tokens.empty() && !has_token) {
        has_token = true;
        if (--num_without_token == 0) first_token = absl::Now();
      } else if (num_without_token == 0) {
        tokens_after_first[static_cast<size_t>(i)] += static_cast<int64_t>(update.tokens.size());
      }
      if (update.finish.has_value() && --num_unfinished == 0) done.notify_all();
    });
    if (!status.ok()) Die(status);
  }
  std::unique_lock lock(mu);
  done.wait(lock, [&] { return num_unfinished == 0; });
  return {.first_token = first_token - start,
          .decode = absl::Now() - first_token,
          .decode_steps = tokens_after_first.back()};
}

}  // namespace switchyard
