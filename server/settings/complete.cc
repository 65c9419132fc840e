#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/settings/edge_flags.h"
#include "server/settings/offload_flags.h"
#include "server/settings/quantization_flags.h"
#include "server/settings/schema.h"

namespace switchyard {
namespace {

constexpr int64_t kLeastGpuBytes = 1 << 20;

// "16GiB,24GiB" instead of "0,1": no plain number is a card's size.
bool AreSizes(const std::string& gpus) { return gpus.find_first_not_of("0123456789, -") != std::string::npos; }

absl::Status ReadGpus(SettingsDraft* draft) {
  EngineConfig& engine = draft->settings.engine;
  if (draft->gpus.empty()) return absl::OkStatus();
  if (draft->settings.command == Command::kPlan && AreSizes(draft->gpus)) {
    engine.gpus.clear();
    for (const absl::string_view part : absl::StrSplit(draft->gpus, ',')) {
      const absl::StatusOr<int64_t> bytes = ParseBytes(part);
      if (!bytes.ok()) return absl::InvalidArgumentError(absl::StrCat("--gpus: ", bytes.status().message()));
      if (*bytes < kLeastGpuBytes) {
        return absl::InvalidArgumentError(absl::StrCat("--gpus \"", draft->gpus, "\" mixes indices and sizes, or \"",
                                                       part, "\" lacks its unit: 0,1 or 16GiB,24GiB"));
      }
      engine.gpu_memory_bytes.push_back(*bytes);
    }
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<int32_t>> gpus = ParseIntList(draft->gpus, 0, 1023);
  if (!gpus.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--gpus: ", gpus.status().message(),
                     AreSizes(draft->gpus) ? "; sizes in place of GPUs are for `switchyard plan`" : ""));
  }
  engine.gpus.assign(gpus->begin(), gpus->end());
  return absl::OkStatus();
}

absl::Status CompleteRanks(const LaunchEnvironment& environment, SettingsDraft* draft) {
  EngineConfig& engine = draft->settings.engine;
  engine.launch = environment.launch;
  if (engine.device == DeviceKind::kCpu) {
    if (engine.dtype.has_value()) {
      return absl::InvalidArgumentError("--dtype is for --device cuda; for --device cpu see --activations");
    }
    if (!draft->gpus.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--gpus \"", draft->gpus, "\" needs --device cuda; for ranks on the CPU use --ranks"));
    }
    engine.num_local_ranks = static_cast<int>(draft->ranks.value_or(1));
    if (engine.num_threads == 0 && environment.processes_on_host > 1) {
      const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
      engine.num_threads = std::max(1, cores / environment.processes_on_host);
    }
    return absl::OkStatus();
  }
  if (draft->ranks.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--ranks ", *draft->ranks, " is for --device cpu; for --device cuda name the GPUs: --gpus 0,1"));
  }
  engine.gpus = {environment.process_idx_on_host};
  if (absl::Status status = ReadGpus(draft); !status.ok()) return status;
  engine.num_local_ranks = static_cast<int>(std::max(engine.gpus.size(), engine.gpu_memory_bytes.size()));
  return absl::OkStatus();
}

absl::Status CompleteServe(SettingsDraft* draft) {
  ServeSettings& serve = draft->settings.serve;
  if (serve.served_model_name.empty()) {
    const std::filesystem::path directory =
        std::filesystem::absolute(draft->settings.engine.model_dir).lexically_normal();
    serve.served_model_name =
        directory.has_filename() ? directory.filename().string() : directory.parent_path().filename().string();
    if (serve.served_model_name.empty()) serve.served_model_name = "model";
  }
  return CompleteEdge(draft);
}

absl::Status CompleteGenerate(SettingsDraft* draft) {
  GenerateSettings& generate = draft->settings.generate;
  if (draft->prompt.empty() == draft->prompt_tokens.empty()) {
    return absl::InvalidArgumentError(draft->prompt.empty() ? "the prompt is missing: give --prompt or --prompt-tokens"
                                                            : "--prompt and --prompt-tokens exclude each other");
  }
  if (!draft->prompt.empty()) {
    generate.prompt = draft->prompt;
    return absl::OkStatus();
  }
  if (generate.chat) return absl::InvalidArgumentError("--chat needs --prompt: the template is applied to text");
  absl::StatusOr<std::vector<int32_t>> tokens =
      ParseIntList(draft->prompt_tokens, 0, std::numeric_limits<int32_t>::max());
  if (!tokens.ok()) return absl::InvalidArgumentError(absl::StrCat("--prompt-tokens: ", tokens.status().message()));
  generate.prompt_tokens = *std::move(tokens);
  return absl::OkStatus();
}

absl::Status CompleteQuantize(SettingsDraft* draft) {
  EngineConfig& engine = draft->settings.engine;
  CompleteQuantization(draft);
  if (engine.model_dir.empty()) {
    return absl::InvalidArgumentError("--model is missing: name the directory of the checkpoint to quantise");
  }
  if (draft->settings.quantize.out_dir.empty()) {
    return absl::InvalidArgumentError("--out is missing: name the directory to write, which must be new or empty");
  }
  if (engine.quantize.experts.is_dense()) {
    return absl::InvalidArgumentError("--format is missing: nf4, int4 or int8 (int4-g64, int4-asym, int8-g128, ...)");
  }
  if (draft->settings.quantize.max_shard_bytes == 0) {
    return absl::InvalidArgumentError("--max-shard-size \"0\" must be at least one byte: 5GB");
  }
  if (engine.num_threads == 0) engine.num_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return absl::OkStatus();
}

}  // namespace

absl::Status Complete(const LaunchEnvironment& environment, SettingsDraft* draft) {
  const Settings& settings = draft->settings;
  if (settings.command == Command::kDoctor) return ReadGpus(draft);
  if (settings.command == Command::kQuantize) return CompleteQuantize(draft);
  if (settings.engine.model_dir.empty()) {
    return absl::InvalidArgumentError(
        settings.command == Command::kPlan
            ? "--model is missing: name the checkpoint's directory, or its config.json alone"
            : "--model is missing: name the checkpoint's directory");
  }
  CompleteQuantization(draft);
  if (absl::Status status = CompleteRanks(environment, draft); !status.ok()) return status;
  if (absl::Status status = CompleteOffload(&draft->settings.engine); !status.ok()) return status;
  switch (settings.command) {
    case Command::kServe:
      return CompleteServe(draft);
    case Command::kGenerate:
      return CompleteGenerate(draft);
    case Command::kScore:
      if (settings.score.input.empty()) {
        return absl::InvalidArgumentError("--input is missing: name a file of JSON lines, or - for standard input");
      }
      return absl::OkStatus();
    case Command::kPlan:
    case Command::kQuantize:
    case Command::kDoctor:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace switchyard
