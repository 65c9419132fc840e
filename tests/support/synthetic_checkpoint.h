// Random Mixtral checkpoints for tests and benchmarks: a model directory as Hugging Face ships one, without tokenizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace switchyard {

struct SyntheticCheckpointOptions {
  int64_t vocab_size = 64;
  int64_t hidden_size = 32;
  int64_t intermediate_size = 48;
  int64_t num_layers = 2;
  int64_t num_heads = 4;
  int64_t num_kv_heads = 2;
  std::optional<int64_t> head_dim;  // none: hidden_size / num_heads, and no field in config.json
  int64_t num_experts = 4;
  int64_t experts_per_token = 2;
  int64_t max_position_embeddings = 256;
  std::optional<int64_t> sliding_window;
  double rope_theta = 10000;
  bool tie_word_embeddings = false;
  DType dtype = DType::kBFloat16;  // kBFloat16, kFloat16 or kFloat32
  uint64_t seed = 1;
  int num_files = 1;  // 1: model.safetensors; more: shards of about equal size and their index
  // Of each tensor only the first row is written; the others are zeros, and holes where the file system has them: a
  // checkpoint of any size, made in no time.
  bool first_rows_only = false;
};

// Writes config.json, generation_config.json and the weights into `directory`, which is made if need be. Matrices are
// uniform with variance 1 / in_features, so that activations keep their size; norms are near 1. A weight depends on
// seed, name and shape only, whatever the number of files. Streams to disk: memory does not grow with the model.
absl::Status WriteSyntheticCheckpoint(const SyntheticCheckpointOptions& options, const std::string& directory);

}  // namespace switchyard
