// A model directory as Hugging Face ships it, opened and validated, its tensors not yet read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "kernels/backend.h"

namespace switchyard {

// Bytes read so far and in all, by one rank; called from the loading thread, many times a second.
struct LoadProgress {
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
};
using LoadProgressCallback = std::function<void(const LoadProgress&)>;

// generation_config.json: defaults that a request may override; absent fields are absent.
struct GenerationDefaults {
  std::vector<int32_t> eos_token_ids;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> repetition_penalty;
};

// Thread safety: immutable once open; ranks load concurrently from one Checkpoint.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // Reads config.json, generation_config.json and every safetensors header of `directory`, and checks them against
  // each other, before any weight is read or memory for it allocated. INVALID_ARGUMENT or NOT_FOUND names the file,
  // the field or tensor, and the two numbers that disagree.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);

  virtual const std::string& directory() const = 0;
  virtual const DecoderSpec& spec() const = 0;
  virtual const GenerationDefaults& generation_defaults() const = 0;
  // For the log, one sentence each: what was found in the directory and is ignored, the spec's warnings included.
  virtual const std::vector<std::string>& warnings() const = 0;
  // Bytes that Load reads for `shard`: every tensor that it needs, once. Of o_proj, whose heads are columns, every rank
  // reads whole rows: a strided read saves no time on any disk.
  virtual int64_t BytesOf(const WeightShard& shard) const = 0;
  // Reads the tensors of `shard`, and only those, into weights made by `backend`.
  virtual absl::StatusOr<ModelWeights> Load(const WeightShard& shard, Backend& backend,
                                            const LoadProgressCallback& progress) const = 0;
};

}  // namespace switchyard
