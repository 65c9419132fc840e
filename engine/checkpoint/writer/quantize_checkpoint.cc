#include "engine/checkpoint/writer/quantize_checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/checkpoint/writer/bitsandbytes_writer.h"
#include "engine/checkpoint/writer/gptq_writer.h"
#include "engine/checkpoint/writer/output_file.h"
#include "engine/checkpoint/writer/output_plan.h"
#include "engine/checkpoint/writer/safetensors_writer.h"
#include "engine/checkpoint/writer/weight_source.h"

namespace switchyard {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kConfigName = "config.json";
constexpr absl::string_view kIndexName = "model.safetensors.index.json";
constexpr int64_t kMaxConfigBytes = int64_t{64} << 20;
// Weights in other forms and their indexes; all other files of a model directory belong to the tokenizer, or are text.
constexpr std::array<absl::string_view, 11> kWeightSuffixes = {
    ".safetensors", ".safetensors.index.json",
    ".bin",         ".bin.index.json",
    ".pt",          ".pth",
    ".gguf",        ".h5",
    ".onnx",        ".msgpack",
    ".ckpt",
};

absl::Status CheckOptions(const QuantizeOptions& options) {
  const QuantizationChoices& choices = options.quantize;
  if (choices.experts.is_dense()) return absl::InvalidArgumentError("--format none: there is nothing to quantise");
  const std::pair<const char*, const QuantizationRecipe*> others[] = {{"--quantize-attention", &choices.attention},
                                                                      {"--quantize-embeddings", &choices.embeddings}};
  for (const auto& [flag, recipe] : others) {
    if (recipe->is_dense() || *recipe == choices.experts) continue;
    return absl::InvalidArgumentError(absl::StrCat(flag, " ", Name(*recipe), " differs from --format ",
                                                   Name(choices.experts),
                                                   ": a checkpoint states one form for all weights; say ", flag,
                                                   " none, or quantise while loading (serve --quantize)"));
  }
  return absl::OkStatus();
}

std::unique_ptr<WeightEncoder> CreateEncoder(const QuantizationRecipe& recipe) {
  return recipe.stored.format == WeightFormat::kNf4 ? CreateBitsAndBytesEncoder() : CreateGptqEncoder(recipe);
}

// The directory that becomes `out` when all is written; removed with all it holds unless it does.
class UnfinishedDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<UnfinishedDirectory>> Create(const std::string& out) {
    std::error_code error;
    fs::path target = fs::absolute(out, error).lexically_normal();
    if (!target.has_filename()) target = target.parent_path();
    if (fs::exists(target, error) && !(fs::is_directory(target, error) && fs::is_empty(target, error))) {
      return absl::AlreadyExistsError(
          absl::StrCat(out, ": exists and is not an empty directory: name another, or remove it"));
    }
    if (!target.parent_path().empty()) fs::create_directories(target.parent_path(), error);
    fs::path path = target;
    path += absl::StrCat(".tmp-", getpid());
    if (error || !fs::create_directory(path, error)) {
      return absl::UnavailableError(
          absl::StrCat(path.string(), ": cannot be created: ", error ? error.message() : "it exists"));
    }
    return std::unique_ptr<UnfinishedDirectory>(new UnfinishedDirectory(std::move(path), std::move(target)));
  }
  ~UnfinishedDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  std::string File(absl::string_view name) const { return (path_ / std::string(name)).string(); }
  absl::Status CheckRoomFor(int64_t bytes) const {
    std::error_code error;
    const fs::space_info space = fs::space(path_, error);
    if (error || space.available >= static_cast<uintmax_t>(bytes)) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: the disk has %.2f GB left, and the checkpoint needs %.2f GB", target_.string(),
                        space.available / 1e9, bytes / 1e9));
  }
  absl::Status Finish(bool sync) {
    absl::Status status = sync ? SyncDirectory(path_.string()) : absl::OkStatus();
    if (!status.ok()) return status;
    std::error_code error;
    fs::rename(path_, target_, error);  // an empty directory gives way
    if (error) return absl::UnavailableError(absl::StrCat(target_.string(), ": cannot be created: ", error.message()));
    path_.clear();
    return sync ? SyncDirectory(target_.parent_path().string()) : absl::OkStatus();
  }

 private:
  UnfinishedDirectory(fs::path path, fs::path target) : path_(std::move(path)), target_(std::move(target)) {}

  fs::path path_;
  const fs::path target_;
};

class QuantizeRun {
 public:
  QuantizeRun(const QuantizeOptions& options, const SourceCheckpoint& source, const WeightEncoder& encoder,
              const OutputPlan& plan, const UnfinishedDirectory& directory, const LoadProgressCallback& progress,
              const std::function<bool()>& is_cancelled)
      : options_(options),
        source_(source),
        encoder_(encoder),
        plan_(plan),
        directory_(directory),
        progress_(progress),
        is_cancelled_(is_cancelled),
        done_{.bytes_total = plan.source_bytes, .num_shards = static_cast<int64_t>(plan.shards.size())} {}

  absl::Status Run() {
    absl::Status status = WriteShards();
    if (status.ok() && plan_.shards.size() > 1) status = WriteIndex();
    if (status.ok()) status = WriteConfig();
    if (status.ok()) status = CopyOtherFiles();
    if (!status.ok()) return status;
    const absl::StatusOr<ManifestFile> written =
        WriteTextFile(directory_.File(kManifestName), FormatManifest(manifest_), options_.sync);
    if (written.ok()) bytes_written_ += written->bytes;
    return written.status();
  }
  int64_t bytes_written() const { return bytes_written_; }

 private:
  using Bytes = absl::StatusOr<std::vector<std::byte>>;

  absl::Status Keep(absl::string_view name, absl::StatusOr<ManifestFile> file) {
    if (!file.ok()) return file.status();
    bytes_written_ += file->bytes;
    manifest_.emplace(name, *std::move(file));
    return absl::OkStatus();
  }

  Bytes Produce(const OutputWeight& weight) const {
    if (!weight.is_quantized) return ReadTensor(source_.shards.files, weight.source, weight.source_bytes);
    const absl::StatusOr<QuantizedTensor> quantized =
        QuantizeTensor(source_.shards.files, weight.source, options_.quantize.experts);
    if (!quantized.ok()) return quantized.status();
    return encoder_.Encode(weight.source, *quantized);
  }

  absl::Status Start(const OutputWeight& weight, std::deque<std::future<Bytes>>& ahead) const {
    try {
      ahead.push_back(std::async(std::launch::async, [this, &weight] { return Produce(weight); }));
      return absl::OkStatus();
    } catch (const std::system_error& e) {
      return absl::ResourceExhaustedError(absl::StrCat("cannot start a thread: ", e.what()));
    }
  }

  // Threads produce some weights ahead; this one writes them in order.
  absl::Status WriteShards() {
    std::vector<const OutputWeight*> weights;
    for (const OutputShard& shard : plan_.shards) {
      for (const OutputWeight& weight : shard.weights) weights.push_back(&weight);
    }
    std::deque<std::future<Bytes>> ahead;
    size_t next = 0;
    for (const OutputShard& shard : plan_.shards) {
      done_.shard_path = shard.name;
      absl::StatusOr<SafetensorsWriter> writer =
          SafetensorsWriter::Create(directory_.File(shard.name), shard.tensors());
      if (!writer.ok()) return writer.status();
      for (const OutputWeight& weight : shard.weights) {
        if (is_cancelled_ && is_cancelled_()) return absl::CancelledError("stopped; nothing was written");
        for (; next < weights.size() && ahead.size() < static_cast<size_t>(options_.num_threads); ++next) {
          if (absl::Status status = Start(*weights[next], ahead); !status.ok()) return status;
        }
        const Bytes bytes = ahead.front().get();
        ahead.pop_front();
        if (!bytes.ok()) return bytes.status();
        if (absl::Status status = writer->Append(*bytes); !status.ok()) return status;
        done_.bytes_read += weight.source_bytes;
        if (progress_) progress_(done_);
      }
      if (absl::Status status = Keep(shard.name, writer->Finish(options_.sync)); !status.ok()) return status;
      ++done_.shard;
    }
    return absl::OkStatus();
  }

  absl::Status WriteIndex() {
    nlohmann::ordered_json index = {{"metadata", {{"total_size", plan_.bytes}}}};
    nlohmann::ordered_json& weight_map = index["weight_map"];
    for (const OutputShard& shard : plan_.shards) {
      for (const TensorLayout& tensor : shard.tensors()) weight_map[tensor.name] = shard.name;
    }
    return Keep(kIndexName, WriteTextFile(directory_.File(kIndexName), index.dump(2) + "\n", options_.sync));
  }

  absl::Status WriteConfig() {
    const std::string path = absl::StrCat(options_.model_dir, "/", kConfigName);
    const absl::StatusOr<std::string> text = ReadTextFile(OpenPosixFile, path, kMaxConfigBytes);
    if (!text.ok()) return text.status();
    // The file was parsed before; this time its order is kept.
    nlohmann::ordered_json config = nlohmann::ordered_json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object()) return absl::DataLossError(absl::StrCat(path, ": has changed while it was read"));
    config["quantization_config"] = encoder_.Config(plan_.modules, source_.configs.spec.weight_dtype);
    const std::string json = config.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    return Keep(kConfigName, WriteTextFile(directory_.File(kConfigName), json, options_.sync));
  }

  absl::Status CopyOtherFiles() {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator it(options_.model_dir, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      const bool is_weight = std::any_of(kWeightSuffixes.begin(), kWeightSuffixes.end(),
                                         [&](absl::string_view suffix) { return absl::EndsWith(name, suffix); });
      std::error_code ignored;
      const bool is_ours = name == kConfigName || name == kManifestName || name.front() == '.';
      if (!is_weight && !is_ours && it->is_regular_file(ignored)) names.push_back(name);
    }
    if (error) return absl::UnavailableError(absl::StrCat(options_.model_dir, ": cannot be read: ", error.message()));
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      absl::Status status =
          Keep(name, CopyTo(absl::StrCat(options_.model_dir, "/", name), directory_.File(name), options_.sync));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const QuantizeOptions& options_;
  const SourceCheckpoint& source_;
  const WeightEncoder& encoder_;
  const OutputPlan& plan_;
  const UnfinishedDirectory& directory_;
  const LoadProgressCallback& progress_;
  const std::function<bool()>& is_cancelled_;
  LoadProgress done_;
  Manifest manifest_;
  int64_t bytes_written_ = 0;
};

}  // namespace

absl::StatusOr<QuantizeSummary> QuantizeCheckpoint(const QuantizeOptions& options, const LoadProgressCallback& progress,
                                                   const std::function<bool()>& is_cancelled) {
  CHECK_GT(options.num_threads, 0);
  CHECK_GT(options.max_shard_bytes, 0);
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const absl::StatusOr<SourceCheckpoint> source = OpenSource(options.model_dir, options.quantize);
  if (!source.ok()) return source.status();
  const std::unique_ptr<WeightEncoder> encoder = CreateEncoder(options.quantize.experts);
  const absl::StatusOr<OutputPlan> plan = PlanOutput(*source, options.quantize, *encoder, options.max_shard_bytes);
  if (!plan.ok()) return plan.status();
  absl::StatusOr<std::unique_ptr<UnfinishedDirectory>> directory = UnfinishedDirectory::Create(options.out_dir);
  if (!directory.ok()) return directory.status();
  if (absl::Status status = (*directory)->CheckRoomFor(plan->bytes); !status.ok()) return status;
  QuantizeRun run(options, *source, *encoder, *plan, **directory, progress, is_cancelled);
  absl::Status status = run.Run();
  if (status.ok()) status = (*directory)->Finish(options.sync);
  if (!status.ok()) return status;
  QuantizeSummary summary{.bytes_read = plan->source_bytes, .bytes_written = run.bytes_written()};
  summary.warnings = source->configs.warnings;
  summary.warnings.insert(summary.warnings.end(), plan->warnings.begin(), plan->warnings.end());
  return summary;
}

}  // namespace switchyard
