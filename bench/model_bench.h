// What decode_bench and prefill_bench share: the model, the engines, and how many bytes and operations a step costs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/engine.h"

namespace switchyard {

struct ModelBenchOptions {
  std::string model;  // empty: a random model of 1.15 billion parameters, made once in a temporary directory
  LoadFormat load_format = LoadFormat::kAuto;
  DeviceKind device = DeviceKind::kCpu;
  std::vector<int> ranks = {1, 2};  // on the CPU: numbers of ranks to measure
  int threads = 2;                  // on the CPU: of all ranks together
  std::vector<int> gpus = {0};      // on GPUs: one rank for each
  bool cuda_graphs = true;
  QuantizationChoices quantize;
  std::optional<DType> kv_dtype;
  CpuActivations activations = CpuActivations::kFloat32;
  AttentionParallelism attention = AttentionParallelism::kReplicated;
  // decode: experts of each layer in memory at a time, the others in a file in offload_dir (on GPUs: in host memory).
  std::optional<int64_t> offload_experts;
  std::string offload_dir = "/tmp";
  bool disturbed = false;  // decode: once more with another process that keeps one core busy
  int64_t max_batch_tokens = 2048;
  std::vector<int64_t> batches = {1, 4, 8, 16, 32};
  std::vector<int64_t> lengths = {128, 512, 2048};
  int64_t prompt = 16;  // of each sequence of a decode batch
  int64_t generate = 48;

  // Numbers of ranks to measure, on either device.
  std::vector<int> RanksToMeasure() const;
};

// Command line, see --help; prints what is wrong and ends the process otherwise. --no-programmatic-launches is of the
// whole process and takes effect at once.
ModelBenchOptions ParseModelBenchOptions(int argc, char** argv);

// The model to measure, made if need be: a directory or a config.json.
std::string PrepareModel(const ModelBenchOptions& options);

// What the devices of all ranks can do together, measured; a GPU that several ranks share counts once. On the CPU
// bytes that are read and float32 operations; on GPUs bytes that are copied, read and written, and operations of
// cuBLASLt in the type that the model computes in.
struct DeviceLimits {
  double bytes_per_second = 0;
  double flops_per_second = 0;
};

// The limits at the time of each measurement. Neighbours on a shared machine move a CPU's limits from second to second:
// there they are measured before and after each measurement, and the mean of both counts. A GPU's are measured once.
class LimitMeter {
 public:
  // `options` outlives this. To be made before any engine's memory is there.
  LimitMeter(const ModelBenchOptions& options, const std::string& model);

  // For what was measured since the last call, or since this was made. No engine is at work.
  DeviceLimits SinceLast();

 private:
  const ModelBenchOptions& options_;
  DeviceLimits last_;
};

// For up to `max_sequences` of up to `max_length` tokens at a time.
std::unique_ptr<Engine> StartBenchEngine(const ModelBenchOptions& options, const std::string& model, int ranks,
                                         int64_t max_sequences, int64_t max_length);

// Bits per weight, scales included, and per element of the KV pages, as they are held in memory.
struct StoredBits {
  double experts = 0;
  double attention = 0;
  double embeddings = 0;
  double routers = 0;
  double kv = 0;
};
StoredBits StoredBitsOf(const ModelBenchOptions& options, const DecoderSpec& spec);

// Bytes of weights that a decode step of `batch` sequences must read at least: attention, router, language-model head,
// and the experts that the batch is expected to touch if tokens choose experts evenly and independently:
// E (1 - (1 - k/E)^batch). Keys and values of `context` positions per sequence come on top.
double DecodeBytes(const DecoderSpec& spec, const StoredBits& bits, int64_t batch, int64_t context);

// Multiplications and additions of a decode step of `batch` sequences of `context` positions each.
double DecodeFlops(const DecoderSpec& spec, int64_t batch, int64_t context);

// Multiplications and additions that a prompt of `tokens` needs: 2 per weight that a token meets, 4 * heads * head_dim
// per pair of positions and layer, and the language-model head for the last token only.
double PrefillFlops(const DecoderSpec& spec, int64_t tokens);

// Runs `batch` requests of `prompt` random tokens each until every one has `generate` tokens; no two share a prompt.
struct RunTimes {
  absl::Duration first_token;  // submission to the first token of the last request
  // While all requests decode together: from there to the first request's last token.
  absl::Duration decode;
  int64_t decode_steps = 0;
};
RunTimes RunBatch(Engine& engine, int64_t batch, int64_t prompt, int64_t generate);

}  // namespace switchyard
