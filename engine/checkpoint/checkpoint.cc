#include "engine/checkpoint/checkpoint.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/config_files.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/loader.h"
#include "engine/checkpoint/manifest.h"
#include "engine/checkpoint/planned_weights.h"
#include "engine/checkpoint/shard_files.h"

namespace switchyard {
namespace {

class SafetensorsCheckpoint : public Checkpoint {
 public:
  SafetensorsCheckpoint(std::string directory, ConfigFiles configs, ShardFiles shards, WeightMap weights,
                        const QuantizationChoices& quantize)
      : directory_(std::move(directory)),
        configs_(std::move(configs)),
        shards_(std::move(shards)),
        weights_(std::move(weights)),
        quantize_(quantize) {}

  const std::string& directory() const override { return directory_; }
  const DecoderSpec& spec() const override { return configs_.spec; }
  const GenerationDefaults& generation_defaults() const override { return configs_.defaults; }
  const std::vector<std::string>& warnings() const override { return configs_.warnings; }
  std::vector<std::string> WarningsOf(const WeightShard& shard) const override { return PlanOf(shard).warnings; }
  int64_t BytesOf(const WeightShard& shard) const override { return PlanOf(shard).bytes_read; }
  absl::StatusOr<ModelWeights> CreateWeights(const WeightShard& shard, Backend& backend) const override {
    return CreatePlannedWeights(spec(), PlanOf(shard), backend);
  }
  absl::Status FillWeights(const WeightShard& shard, Backend& backend, ModelWeights& weights,
                           const LoadOptions& options, const LoadProgressCallback& progress) const override {
    return ReadWeights(PlanOf(shard), shards_.files, backend, weights, options, progress);
  }

 private:
  LoadPlan PlanOf(const WeightShard& shard) const { return MakeLoadPlan(spec(), weights_, quantize_, shard); }

  const std::string directory_;
  const ConfigFiles configs_;
  const ShardFiles shards_;
  const WeightMap weights_;
  const QuantizationChoices quantize_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory,
                                                             const QuantizationChoices& quantize) {
  return OpenCheckpoint(directory, OpenPosixFile, quantize);
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& directory, const FileOpener& open_file,
                                                           const QuantizationChoices& quantize) {
  const absl::StatusOr<FileOpener> verifying = VerifyingOpener(directory, open_file);
  if (!verifying.ok()) return verifying.status();
  const FileOpener& open = *verifying;
  absl::StatusOr<ConfigFiles> configs = ReadConfigFiles(absl::StrCat(directory, "/config.json"), open);
  if (!configs.ok()) return configs.status();
  absl::StatusOr<ShardFiles> shards = OpenShardFiles(open, directory, configs->warnings);
  if (!shards.ok()) return shards.status();
  absl::StatusOr<WeightMap> weights =
      WeightMap::Make(configs->spec, NamingOf(configs->spec.model_type), configs->quantization_or_null(),
                      shards->headers, configs->warnings);
  if (!weights.ok()) return weights.status();
  if (absl::Status status = CheckChoices(configs->spec, *weights, quantize); !status.ok()) return status;
  return std::make_unique<SafetensorsCheckpoint>(directory, *std::move(configs), *std::move(shards),
                                                 *std::move(weights), quantize);
}

absl::StatusOr<ModelWeights> Checkpoint::Load(const WeightShard& shard, Backend& backend,
                                              const LoadProgressCallback& progress, const LoadOptions& options) const {
  absl::StatusOr<ModelWeights> weights = CreateWeights(shard, backend);
  if (!weights.ok()) return weights.status();
  absl::Status status = FillWeights(shard, backend, *weights, options, progress);
  if (!status.ok()) return status;
  return weights;
}

}  // namespace switchyard
