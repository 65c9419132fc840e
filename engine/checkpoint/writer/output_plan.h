// Which tensors a quantised checkpoint consists of, and in which files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/config_files.h"
#include "engine/checkpoint/shard_files.h"
#include "engine/checkpoint/weight_map.h"
#include "engine/checkpoint/writer/encoded_weight.h"
#include "engine/model/quantization_choices.h"

namespace switchyard {

// A checkpoint to be quantised, opened.
struct SourceCheckpoint {
  ConfigFiles configs;
  ShardFiles shards;
  WeightMap weights;
};
// INVALID_ARGUMENT if it is quantised already; otherwise errors as Checkpoint::Open.
absl::StatusOr<SourceCheckpoint> OpenSource(const std::string& directory, const QuantizationChoices& quantize);

// A tensor of the source, and what it becomes.
struct OutputWeight {
  TensorLocation source;  // as it lies in the file, whether a weight of the model or not
  int64_t source_bytes = 0;
  bool is_quantized = false;
  std::vector<TensorLayout> tensors;  // one, unless quantised

  int64_t bytes() const;
};

struct OutputShard {
  std::string name;  // "model-00001-of-00003.safetensors"
  std::vector<OutputWeight> weights;

  std::vector<TensorLayout> tensors() const;
};

struct OutputPlan {
  std::vector<OutputShard> shards;
  ModuleNames modules;
  int64_t source_bytes = 0;
  int64_t bytes = 0;                  // of tensors
  std::vector<std::string> warnings;  // weights that stay dense
};

// Quantises the weights that loading with `quantize` would. Every tensor of the source is written, in its order.
// INVALID_ARGUMENT names file and tensor that `encoder` cannot write.
absl::StatusOr<OutputPlan> PlanOutput(const SourceCheckpoint& source, const QuantizationChoices& quantize,
                                      const WeightEncoder& encoder, int64_t max_shard_bytes);

}  // namespace switchyard
