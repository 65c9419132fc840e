#include "bench/model_bench.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/gpu_limits.h"
#include "bench/limits.h"
#include "engine/engine_plan.h"
#include "engine/startup.h"
#include "kernels/cuda/programmatic_launches.h"
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

// With scales: float16 of INT4 and INT8, and their zero points; NF4's on the CPU in float32, on GPUs in 8 bits.
double BitsPerWeight(const QuantizationRecipe& recipe, DType dense, DeviceKind device) {
  if (recipe.is_dense()) return 8.0 * static_cast<double>(SizeOf(dense));
  const Quantization& stored = recipe.stored;
  const bool is_nf4 = stored.format == WeightFormat::kNf4;
  const double scale_bits = !is_nf4 ? 16 : device == DeviceKind::kCpu ? 32 : 8;
  return static_cast<double>(stored.bits()) +
         (scale_bits + (stored.has_zeros ? 8 : 0)) / static_cast<double>(stored.group_size);
}

// Weights that one token meets in a layer: attention, router, experts.
double LayerWeightsPerToken(const DecoderSpec& spec) {
  return AttentionWeights(spec) + static_cast<double>(spec.num_experts * spec.hidden_size) +
         static_cast<double>(spec.experts_per_token) * ExpertWeightCount(spec);
}

QuantizationRecipe ParseRecipe(const std::string& text) {
  absl::StatusOr<QuantizationRecipe> recipe = ParseQuantizationRecipe(text);
  if (!recipe.ok()) throw CLI::ValidationError(std::string(recipe.status().message()));
  return *recipe;
}

// What does not depend on what is measured.
EngineConfig Config(const ModelBenchOptions& options, const std::string& model) {
  EngineConfig config = {.model_dir = model,
                         .device = options.device,
                         .attention = options.attention,
                         .num_threads = options.device == DeviceKind::kCpu ? options.threads : 0,
                         .max_batch_tokens = options.max_batch_tokens,
                         .quantize = options.quantize,
                         .kv_dtype = options.kv_dtype,
                         .expert_places = options.offload_experts,
                         .offload_dir = options.offload_dir,
                         .load_format = options.load_format,
                         .cuda_graphs = options.cuda_graphs,
                         .activations = options.activations};
  if (options.device == DeviceKind::kCuda) config.gpus = options.gpus;
  return config;
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

DeviceLimits CpuLimits(int threads) {
  return {.bytes_per_second = MeasureReadBandwidth(threads), .flops_per_second = MeasureFmaRate(threads)};
}

DeviceLimits GpuLimitsOf(const ModelBenchOptions& options, const std::string& model) {
  const EngineConfig config = Config(options, model);
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenModel(config);
  if (!checkpoint.ok()) Die(checkpoint.status());
  DeviceLimits all;
  for (const int gpu : std::set<int>(options.gpus.begin(), options.gpus.end())) {
    const GpuLimits one = MeasureGpuLimits(gpu, ActivationDType(config, (*checkpoint)->spec()));
    all.bytes_per_second += one.copy_bytes_per_second;
    all.flops_per_second += one.matrix_flops_per_second;
  }
  return all;
}

}  // namespace

std::vector<int> ModelBenchOptions::RanksToMeasure() const {
  return device == DeviceKind::kCuda ? std::vector<int>{static_cast<int>(gpus.size())} : ranks;
}

ModelBenchOptions ParseModelBenchOptions(int argc, char** argv) {
  // For ranks that share a GPU, as in server/main.cc; read when CUDA and NCCL start.
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", /*overwrite=*/0);
  setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/0);
  ModelBenchOptions options;
  bool no_cuda_graphs = false, no_programmatic_launches = false;
  CLI::App app("Measures the engine beside the limits of this machine, measured in the same run.");
  app.add_option("--model,--config", options.model,
                 "model directory, or with --load-format dummy a config.json; default: a random model of 1.15 billion "
                 "parameters");
  const std::map<std::string, LoadFormat> formats = {{"auto", LoadFormat::kAuto}, {"dummy", LoadFormat::kDummy}};
  app.add_option("--load-format", options.load_format, "auto, or dummy: random weights, made on the device")
      ->transform(CLI::CheckedTransformer(formats));
  const std::map<std::string, DeviceKind> devices = {{"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}};
  app.add_option("--device", options.device, "cpu or cuda")->transform(CLI::CheckedTransformer(devices));
  app.add_option("--ranks", options.ranks, "cpu: numbers of ranks to measure")->delimiter(',')->capture_default_str();
  app.add_option("--threads", options.threads, "cpu: threads of all ranks together")->capture_default_str();
  app.add_option("--gpus", options.gpus, "cuda: a rank on each; 0,0: two on one GPU")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--no-cuda-graphs", no_cuda_graphs, "cuda: decode eagerly");
  app.add_flag("--no-programmatic-launches", no_programmatic_launches,
               "cuda: no kernel starts before the one ahead of it has ended");
  std::string experts = "none", attention_format, embeddings = "none";
  app.add_option("--quantize", experts, "experts: none, nf4, int4, int8, ...; see switchyard serve --help");
  app.add_option("--quantize-attention", attention_format, "default: as --quantize");
  app.add_option("--quantize-embeddings", embeddings, "token embeddings and the output projection");
  const std::map<std::string, DType> kv_dtypes = {{"fp8", DType::kFloat8E4M3}, {"int8", DType::kInt8}};
  app.add_option("--kv-dtype", options.kv_dtype, "fp8 or int8; default: as activations")
      ->transform(CLI::CheckedTransformer(kv_dtypes));
  const std::map<std::string, CpuActivations> activations = {
      {"float32", CpuActivations::kFloat32}, {"bfloat16", CpuActivations::kBFloat16}, {"int8", CpuActivations::kInt8}};
  app.add_option("--activations", options.activations, "cpu: float32, bfloat16 or int8")
      ->transform(CLI::CheckedTransformer(activations));
  const std::map<std::string, AttentionParallelism> modes = {
      {"replicated", AttentionParallelism::kReplicated}, {"tensor-parallel", AttentionParallelism::kTensorParallel}};
  app.add_option("--attention", options.attention, "replicated or tensor-parallel")
      ->transform(CLI::CheckedTransformer(modes));
  app.add_option("--offload-experts", options.offload_experts, "decode: experts of each layer on a device at a time")
      ->check(CLI::PositiveNumber);
  app.add_option("--offload-dir", options.offload_dir, "cpu: where the others' file lies")->capture_default_str();
  app.add_flag("--disturbed", options.disturbed, "decode: also beside a process that keeps one core busy");
  app.add_option("--max-batch-tokens", options.max_batch_tokens, "of a step; longer prompts go in chunks")
      ->capture_default_str();
  app.add_option("--batches", options.batches, "decode: sequences at a time")->delimiter(',')->capture_default_str();
  app.add_option("--prompt", options.prompt, "decode: tokens of each prompt")->capture_default_str();
  app.add_option("--generate", options.generate, "decode: tokens after each prompt")->capture_default_str();
  app.add_option("--lengths", options.lengths, "prefill: tokens of the prompt")->delimiter(',')->capture_default_str();
  try {
    app.parse(argc, argv);
    options.quantize = {.experts = ParseRecipe(experts),
                        .attention = ParseRecipe(attention_format.empty() ? experts : attention_format),
                        .embeddings = ParseRecipe(embeddings)};
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  options.cuda_graphs = !no_cuda_graphs;
  cuda::SetProgrammaticLaunches(!no_programmatic_launches);
  return options;
}

std::string PrepareModel(const ModelBenchOptions& options) {
  if (!options.model.empty()) return options.model;
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

LimitMeter::LimitMeter(const ModelBenchOptions& options, const std::string& model)
    : options_(options),
      last_(options.device == DeviceKind::kCpu ? CpuLimits(options.threads) : GpuLimitsOf(options, model)) {}

DeviceLimits LimitMeter::SinceLast() {
  if (options_.device != DeviceKind::kCpu) return last_;
  const DeviceLimits before = std::exchange(last_, CpuLimits(options_.threads));
  return {.bytes_per_second = (before.bytes_per_second + last_.bytes_per_second) / 2,
          .flops_per_second = (before.flops_per_second + last_.flops_per_second) / 2};
}

std::unique_ptr<Engine> StartBenchEngine(const ModelBenchOptions& options, const std::string& model, int ranks,
                                         int64_t max_sequences, int64_t max_length) {
  EngineConfig config = Config(options, model);
  config.num_local_ranks = ranks;
  config.max_running_requests = max_sequences;
  config.max_model_len = max_length;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(config, [](const StartupProgress&) {});
  if (!engine.ok()) Die(engine.status());
  return *std::move(engine);
}

StoredBits StoredBitsOf(const ModelBenchOptions& options, const DecoderSpec& spec) {
  const DType activation = ActivationDType(Config(options, ""), spec);
  const DType dense = options.device == DeviceKind::kCuda ? activation : spec.weight_dtype;
  const double scale_bits = options.kv_dtype.has_value() ? 32.0 / static_cast<double>(spec.head_dim) : 0;
  return {.experts = BitsPerWeight(options.quantize.experts, dense, options.device),
          .attention = BitsPerWeight(options.quantize.attention, dense, options.device),
          .embeddings = BitsPerWeight(options.quantize.embeddings, dense, options.device),
          .routers = 8.0 * static_cast<double>(SizeOf(dense)),
          .kv = 8.0 * static_cast<double>(SizeOf(options.kv_dtype.value_or(activation))) + scale_bits};
}

double DecodeBytes(const DecoderSpec& spec, const StoredBits& bits, int64_t batch, int64_t context) {
  const double experts = static_cast<double>(spec.num_experts);
  const double untouched = std::pow(1.0 - static_cast<double>(spec.experts_per_token) / experts, batch);
  const double layer_bits = AttentionWeights(spec) * bits.attention +
                            experts * static_cast<double>(spec.hidden_size) * bits.routers +
                            experts * (1.0 - untouched) * ExpertWeightCount(spec) * bits.experts;
  const double kv = 2.0 * static_cast<double>(spec.num_layers * spec.num_kv_heads * spec.head_dim) *
                    static_cast<double>(batch * context);
  return (static_cast<double>(spec.num_layers) * layer_bits +
          static_cast<double>(spec.vocab_size * spec.hidden_size) * bits.embeddings + kv * bits.kv) /
         8;
}

double DecodeFlops(const DecoderSpec& spec, int64_t batch, int64_t context) {
  const double per_token =
      static_cast<double>(spec.num_layers) *
          (2 * LayerWeightsPerToken(spec) + 4 * static_cast<double>(spec.num_heads * spec.head_dim * context)) +
      2 * static_cast<double>(spec.vocab_size * spec.hidden_size);
  return static_cast<double>(batch) * per_token;
}

double PrefillFlops(const DecoderSpec& spec, int64_t tokens) {
  const double n = static_cast<double>(tokens);
  const double pairs = n * (n + 1) / 2;
  return static_cast<double>(spec.num_layers) *
             (2 * LayerWeightsPerToken(spec) * n + 4 * static_cast<double>(spec.num_heads * spec.head_dim) * pairs) +
         2 * static_cast<double>(spec.vocab_size * spec.hidden_size);
}

RunTimes RunBatch(Engine& engine, int64_t batch, int64_t prompt, int64_t generate) {
  static std::mt19937 random(17);
  const int64_t vocab = engine.model_info().spec.vocab_size;
  std::mutex mu;
  std::condition_variable done;
  int64_t num_unfinished = batch, num_without_token = batch;
  absl::Time first_token, first_end;
  std::vector<int64_t> decoded(static_cast<size_t>(batch), 0);  // while all decode together
  absl::Status failure;
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
      failure.Update(update.status);
      if (!update.tokens.empty() && !has_token) {
        has_token = true;
        if (--num_without_token == 0) first_token = absl::Now();
      } else if (num_without_token == 0 && num_unfinished == batch) {
        decoded[static_cast<size_t>(i)] += static_cast<int64_t>(update.tokens.size());
      }
      if (!update.finish.has_value()) return;
      if (num_unfinished == batch) first_end = absl::Now();
      if (--num_unfinished == 0) done.notify_all();
    });
    if (!status.ok()) Die(status);
  }
  std::unique_lock lock(mu);
  done.wait(lock, [&] { return num_unfinished == 0; });
  if (!failure.ok()) Die(failure);
  return {.first_token = first_token - start,
          .decode = std::max(first_end - first_token, absl::ZeroDuration()),
          .decode_steps = *std::max_element(decoded.begin(), decoded.end())};
}

}  // namespace switchyard
