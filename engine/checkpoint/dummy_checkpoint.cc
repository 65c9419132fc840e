// A checkpoint of which only config.json exists: every weight is random.
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/config_files.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/planned_weights.h"

namespace switchyard {
namespace {

constexpr float kDeviation = 0.02f;

// FNV-1a of the tensor's name, which says layer, role and expert, and of where the share of a divided one begins.
uint64_t SeedOf(const StackedSlices& source) {
  const TensorSlice& first = source.slices.front();
  uint64_t seed = 0xCBF29CE484222325u;
  for (const char c : absl::StrCat(first.tensor->name, "@", first.row_begin, ",", first.column_begin)) {
    seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  return seed;
}

class DummyCheckpoint : public Checkpoint {
 public:
  DummyCheckpoint(std::string directory, ConfigFiles configs, WeightMap weights, const QuantizationChoices& quantize)
      : directory_(std::move(directory)),
        configs_(std::move(configs)),
        weights_(std::move(weights)),
        quantize_(quantize) {}

  const std::string& directory() const override { return directory_; }
  const DecoderSpec& spec() const override { return configs_.spec; }
  const GenerationDefaults& generation_defaults() const override { return configs_.defaults; }
  const std::vector<std::string>& warnings() const override { return configs_.warnings; }
  std::vector<std::string> WarningsOf(const WeightShard& shard) const override { return PlanOf(shard).warnings; }
  int64_t BytesOf(const WeightShard& /*shard*/) const override { return 0; }
  absl::StatusOr<ModelWeights> CreateWeights(const WeightShard& shard, Backend& backend) const override {
    return CreatePlannedWeights(spec(), PlanOf(shard), backend);
  }
  absl::Status FillWeights(const WeightShard& shard, Backend& backend, ModelWeights& weights,
                           const LoadOptions& options, const LoadProgressCallback& progress) const override;

 private:
  LoadPlan PlanOf(const WeightShard& shard) const { return MakeLoadPlan(spec(), weights_, quantize_, shard); }

  const std::string directory_;
  const ConfigFiles configs_;
  const WeightMap weights_;
  const QuantizationChoices quantize_;
};

// The backend makes the numbers on its device: there is nothing to stream, and no progress of bytes to report.
absl::Status DummyCheckpoint::FillWeights(const WeightShard& shard, Backend& backend, ModelWeights& weights,
                                          const LoadOptions& /*options*/,
                                          const LoadProgressCallback& /*progress*/) const {
  const LoadPlan plan = PlanOf(shard);
  const PlannedWeights planned = PairWithPlan(plan, weights);
  for (const PlannedMatrix& matrix : planned.matrices) {
    const absl::Status status = matrix.weight->FillRandom(SeedOf(*matrix.source), kDeviation);
    if (!status.ok()) return Annotate("random numbers", *matrix.source->slices.front().tensor, status);
  }
  const std::vector<float> ones(static_cast<size_t>(spec().hidden_size), 1.0f);
  for (const PlannedVector& norm : planned.norms) {
    const absl::Status status =
        backend.CopyFromHost(ConstTensorView::Of(std::span<const float>(ones)), norm.weight->view());
    if (!status.ok()) return Annotate("ones", *norm.source->tensor, status);
  }
  return backend.Synchronize();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::OpenConfig(const std::string& path,
                                                                   const QuantizationChoices& quantize) {
  std::error_code ignored;  // what cannot be looked at is opened as a file, whose error names it
  const bool is_directory = std::filesystem::is_directory(path, ignored);
  const std::string config_path = is_directory ? absl::StrCat(path, "/config.json") : path;
  absl::StatusOr<ConfigFiles> configs = ReadConfigFiles(config_path, OpenPosixFile);
  if (!configs.ok()) return configs.status();
  absl::StatusOr<WeightMap> weights =
      WeightMap::Imagine(configs->spec, NamingOf(configs->spec.model_type), configs->quantization_or_null());
  if (!weights.ok()) return weights.status();
  if (absl::Status status = CheckChoices(configs->spec, *weights, quantize); !status.ok()) return status;
  return std::make_unique<DummyCheckpoint>(is_directory ? path : DirectoryOf(path), *std::move(configs),
                                           *std::move(weights), quantize);
}

}  // namespace switchyard
