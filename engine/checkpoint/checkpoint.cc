#include "engine/checkpoint/checkpoint.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/generation_defaults.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/loader.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/shard_files.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

class SafetensorsCheckpoint : public Checkpoint {
 public:
  SafetensorsCheckpoint(std::string directory, DecoderSpec spec, GenerationDefaults defaults, ShardFiles shards,
                        WeightMap weights, std::vector<std::string> warnings)
      : directory_(std::move(directory)),
        spec_(std::move(spec)),
        defaults_(std::move(defaults)),
        shards_(std::move(shards)),
        weights_(std::move(weights)),
        warnings_(std::move(warnings)) {}

  const std::string& directory() const override { return directory_; }
  const DecoderSpec& spec() const override { return spec_; }
  const GenerationDefaults& generation_defaults() const override { return defaults_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }
  int64_t BytesOf(const WeightShard& shard) const override { return MakeLoadPlan(spec_, weights_, shard).bytes_read; }
  absl::StatusOr<ModelWeights> Load(const WeightShard& shard, Backend& backend,
                                    const LoadProgressCallback& progress) const override {
    return LoadWeights(spec_, MakeLoadPlan(spec_, weights_, shard), shards_.files, backend, progress);
  }

 private:
  const std::string directory_;
  const DecoderSpec spec_;
  const GenerationDefaults defaults_;
  const ShardFiles shards_;
  const WeightMap weights_;
  const std::vector<std::string> warnings_;
};

// A model without the file has no defaults of its own.
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& directory, const FileOpener& open,
                                                          int64_t vocab_size, std::vector<std::string>& warnings) {
  const std::string path = absl::StrCat(directory, "/generation_config.json");
  const absl::StatusOr<nlohmann::json> config = ReadJsonFile(open, path, kMaxConfigBytes);
  if (absl::IsNotFound(config.status())) return GenerationDefaults{};
  if (!config.ok()) return config.status();
  return ParseGenerationConfig(path, *config, vocab_size, warnings);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  return OpenCheckpoint(directory, OpenPosixFile);
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& directory, const FileOpener& open) {
  const std::string config_path = absl::StrCat(directory, "/config.json");
  const absl::StatusOr<nlohmann::json> config = ReadJsonFile(open, config_path, kMaxConfigBytes);
  if (!config.ok()) return config.status();
  absl::StatusOr<DecoderSpec> spec = ParseModelConfig(config_path, *config);
  if (!spec.ok()) return spec.status();

  std::vector<std::string> warnings = spec->warnings;
  absl::StatusOr<GenerationDefaults> defaults = ReadGenerationDefaults(directory, open, spec->vocab_size, warnings);
  if (!defaults.ok()) return defaults.status();
  absl::StatusOr<ShardFiles> shards = OpenShardFiles(open, directory, warnings);
  if (!shards.ok()) return shards.status();
  absl::StatusOr<WeightMap> weights = WeightMap::Make(*spec, NamingOf(spec->model_type), shards->headers, warnings);
  if (!weights.ok()) return weights.status();
  return std::make_unique<SafetensorsCheckpoint>(directory, *std::move(spec), *std::move(defaults), *std::move(shards),
                                                 *std::move(weights), std::move(warnings));
}

}  // namespace switchyard
