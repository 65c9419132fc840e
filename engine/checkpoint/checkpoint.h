// A model directory as Hugging Face ships it, opened and validated, its tensors not yet read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_weights.h"
#include "engine/model/quantization_choices.h"
#include "kernels/backend.h"

namespace switchyard {

// Bytes read so far and in all, by one rank. Called many times a second, from any of the loading threads but by one at
// a time; bytes_read never falls.
struct LoadProgress {
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
  int64_t shard = 0;  // the file that is being read, counted from 0; never falls
  int64_t num_shards = 0;
  std::string shard_path;
};
using LoadProgressCallback = std::function<void(const LoadProgress&)>;

// A manifest's checksums (manifest.h) are of blocks of this size: smaller reads are not verified.
inline constexpr int64_t kLoadBlockBytes = int64_t{8} << 20;

struct LoadOptions {
  // Of one rank, the calling thread included: while one waits for the disk, another converts and copies.
  int num_threads = 1;
  // Most bytes of one read, in whole rows (one at least), of dense tensors. Each thread stages one block, and once more
  // what it has to convert (BF16 as float32 takes twice a block) or to quantise. A tensor that its file holds quantised
  // is read whole, so that a thread holds such a tensor, twice where its groups or columns are divided. With double
  // quantisation the scales of tensors under way come to that, 1/16 of their weights in float32.
  int64_t block_bytes = kLoadBlockBytes;
};

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
  // `quantize` is done to dense weights while they are loaded; INVALID_ARGUMENT if those are quantised already.
  // Where a manifest (manifest.h) lies in the directory, what is read is verified: DATA_LOSS names file and tensor.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory,
                                                          const QuantizationChoices& quantize = {});
  // Of `path`, a directory or a config.json, only config.json and the generation_config.json beside it; weights of
  // torch_dtype are imagined and filled with random numbers (--load-format dummy): normal, of deviation 0.02, norms 1.
  // An expert, a router or an embedding is the same whatever the number of ranks; a share of the heads is not a part of
  // the whole.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> OpenConfig(const std::string& path,
                                                                const QuantizationChoices& quantize = {});

  virtual const std::string& directory() const = 0;
  virtual const DecoderSpec& spec() const = 0;
  virtual const GenerationDefaults& generation_defaults() const = 0;
  // For the log, one sentence each: what was found in the directory and is ignored, the spec's warnings included.
  virtual const std::vector<std::string>& warnings() const = 0;
  // The same of one shard: which weights it holds dense although they are quantised, or were to be.
  virtual std::vector<std::string> WarningsOf(const WeightShard& shard) const = 0;
  // Bytes that FillWeights reads for `shard`: every tensor that it needs, once. Of o_proj, whose heads are columns,
  // every rank reads whole rows: a strided read saves no time on any disk. Where heads are divided among ranks, each
  // reads its rows of q, k and v, and all rows of tensors that are quantised in the file, or become so with scales that
  // depend on all rows (NF4's double quantisation).
  virtual int64_t BytesOf(const WeightShard& shard) const = 0;
  // Allocates all weights of `shard` and writes nothing into them. Errors name the weight.
  virtual absl::StatusOr<ModelWeights> CreateWeights(const WeightShard& shard, Backend& backend) const = 0;
  // Reads the tensors of `shard`, and only those, into what CreateWeights made for it. The first error stops all
  // threads and names file and tensor. Called from the backend's thread.
  virtual absl::Status FillWeights(const WeightShard& shard, Backend& backend, ModelWeights& weights,
                                   const LoadOptions& options, const LoadProgressCallback& progress) const = 0;
  // Both.
  absl::StatusOr<ModelWeights> Load(const WeightShard& shard, Backend& backend, const LoadProgressCallback& progress,
                                    const LoadOptions& options = {}) const;
};

}  // namespace switchyard
