#include "server/settings/schema.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "server/settings/edge_flags.h"
#include "server/settings/engine_flags.h"
#include "server/settings/generate_flags.h"
#include "server/settings/quantization_flags.h"

namespace switchyard {
namespace {

Flag LogLevelFlag(std::string* target) {
  static constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error", "off"};
  return ChoiceFlag(
      "log-level", "least severity that is logged, on standard error",
      std::vector<std::string>(std::begin(kLevels), std::end(kLevels)),
      [target](size_t i) { *target = std::string(kLevels[i]); },
      [target]() { return static_cast<size_t>(std::find(std::begin(kLevels), std::end(kLevels), *target) - kLevels); });
}

void AddLogFlags(LogSettings& log, std::vector<Flag>* flags) {
  const char* other = "Numerics and logs";
  flags->push_back(In(other, LogLevelFlag(&log.level)));
  flags->push_back(
      In(other, EnumFlag("log-format", "lines for people or for machines", {"text", "json"}, &log.format)));
}

void AddServeFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  ServeSettings& serve = draft->settings.serve;
  const char* front = "Front ends";
  flags->push_back(In(front, EndpointFlag("http", "OpenAI-compatible HTTP; port 0: any free one", &serve.http)));
  flags->push_back(In(front, EndpointFlag("grpc", "gRPC switchyard.v1; port 0: any free one", &serve.grpc)));
  flags->push_back(
      In(front, SwitchFlag("grpc-reflection", "let gRPC clients list the services", &serve.grpc_reflection)));
  flags->push_back(
      In(front, TextFlag("served-model-name", "NAME", "what clients call the model; default: the last part of --model",
                         &serve.served_model_name)));
  flags->push_back(In(front, DurationFlag("drain-timeout", "after SIGTERM, how long open requests may take to finish",
                                          absl::ZeroDuration(), &serve.drain_timeout)));
  flags->push_back(
      In(front, TextFlag("ready-file", "FILE", "write the bound ports there as JSON, once ready", &serve.ready_file)));

  AddLoadFlags(&draft->settings.engine, flags);
  AddEdgeFlags(draft, flags);

  const char* metrics = "Metrics";
  flags->push_back(In(metrics, ChoiceFlag(
                                   "metrics-alias", "repeat the metrics under vLLM's prefix, for existing dashboards",
                                   {"none", "vllm"}, [&serve](size_t i) { serve.metrics_alias_vllm = i == 1; },
                                   [&serve]() { return serve.metrics_alias_vllm ? size_t{1} : size_t{0}; })));
  flags->push_back(In(
      metrics, SwitchFlag("metrics-per-expert", "one series per layer and expert as well", &serve.metrics_per_expert)));
  flags->push_back(In("Sampling", IntFlagOf("seed", "of requests that bring none; 0: from the clock", {},
                                            &draft->settings.engine.seed)));
}

void AddScoreFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  ScoreSettings& score = draft->settings.score;
  flags->push_back(In("Input", TextFlag("input", "FILE",
                                        "JSON lines {\"tokens\": [...]} or {\"text\": \"...\"}; - is standard input; "
                                        "required",
                                        &score.input)));
  flags->push_back(In(
      "Input", IntFlagOf("batch", "lines in the engine at the same time", {.min = 1, .max = 1 << 16}, &score.batch)));
  flags->push_back(In("Output", TextFlag("against", "DIR",
                                         "add a last line: perplexity of both, and the KL divergence from the model in "
                                         "DIR, in float32 and not quantised further (--device cpu)",
                                         &score.against)));
}

void AddPlanFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  flags->push_back(In("Output", SwitchFlag("json", "one JSON object with exact bytes instead of the table",
                                           &draft->settings.plan.json)));
  flags->push_back(In("Memory and batching",
                      SwitchFlag("fit",
                                 "choose what fits: --max-batch-tokens, --attention, the longest --max-model-len, and "
                                 "less precision or --offload-experts where nothing else does",
                                 &draft->settings.plan.fit)));
}

void AddDoctorFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  flags->push_back(
      In("Output", SwitchFlag("json", "one JSON object instead of the tables", &draft->settings.doctor.json)));
  flags->push_back(In("Ranks", GpusFlag(draft)));
  AddCollectiveFlags(&draft->settings.engine, flags);
  AddLogFlags(draft->settings.log, flags);
}

void AddQuantizeFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  EngineConfig& engine = draft->settings.engine;
  const char* model = "Model";
  flags->push_back(
      In(model, TextFlag("model", "DIR", "checkpoint directory to quantise, in bfloat16, float16 or float32",
                         &engine.model_dir)));
  AddQuantizationFlags(draft, flags);
  const char* output = "Output";
  flags->push_back(
      In(output, TextFlag("out", "DIR", "directory to write; new or empty", &draft->settings.quantize.out_dir)));
  flags->push_back(In(output, SizeFlag("max-shard-size", "tensors in one file, as 5GB or 4GiB",
                                       &draft->settings.quantize.max_shard_bytes)));
  flags->push_back(In(output, IntFlagOf("threads", "CPU threads, each of which holds a tensor; 0: all cores",
                                        {.max = 4096, .remedy = "0 takes all cores"}, &engine.num_threads)));
  AddLogFlags(draft->settings.log, flags);
}

}  // namespace

const char* Name(Command command) {
  switch (command) {
    case Command::kServe:
      return "serve";
    case Command::kGenerate:
      return "generate";
    case Command::kScore:
      return "score";
    case Command::kPlan:
      return "plan";
    case Command::kQuantize:
      return "quantize";
    case Command::kDoctor:
      return "doctor";
  }
  return "unknown";
}

std::vector<Flag> FlagsOf(Command command, SettingsDraft* draft) {
  std::vector<Flag> flags;
  draft->settings.command = command;
  if (command == Command::kDoctor) {
    draft->settings.engine.device = DeviceKind::kCuda;
    AddDoctorFlags(draft, &flags);
    return flags;
  }
  if (command == Command::kQuantize) {
    AddQuantizeFlags(draft, &flags);
    return flags;
  }
  if (command == Command::kPlan) {
    draft->settings.engine.device = DeviceKind::kCuda;
    AddPlanFlags(draft, &flags);
  }
  if (command == Command::kGenerate) AddGenerateFlags(draft, &flags);
  if (command == Command::kScore) AddScoreFlags(draft, &flags);
  AddEngineFlags(draft, &flags);
  AddLogFlags(draft->settings.log, &flags);
  if (command == Command::kServe) AddServeFlags(draft, &flags);
  return flags;
}

}  // namespace switchyard
