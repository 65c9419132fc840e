#include "server/settings/schema.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "server/settings/edge_flags.h"
#include "server/settings/offload_flags.h"
#include "server/settings/quantization_flags.h"

namespace switchyard {
namespace {

template <typename T>
Flag OptionalIntFlag(std::string name, std::string help, IntRange range, std::optional<T>* target) {
  return IntFlag(
      std::move(name), std::move(help), std::move(range), [target](int64_t value) { *target = static_cast<T>(value); },
      [target]() { return target->has_value() ? std::optional<int64_t>(**target) : std::nullopt; });
}

Flag OptionalFloatFlag(std::string name, std::string help, FloatRange range, std::optional<float>* target) {
  return FloatFlag(
      std::move(name), std::move(help), range, [target](float value) { *target = value; },
      [target] { return *target; });
}

template <typename Enum>
Flag EnumFlag(std::string name, std::string help, const std::vector<std::string>& choices, Enum* target) {
  return ChoiceFlag(
      std::move(name), std::move(help), choices, [target](size_t i) { *target = static_cast<Enum>(i); },
      [target]() { return static_cast<size_t>(*target); });
}

Flag ExchangeFlag(std::optional<ExchangeStrategy>* target) {
  std::vector<std::string> choices = {"auto"};
  for (const ExchangeStrategy strategy :
       {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
    choices.push_back(Name(strategy));
  }
  return ChoiceFlag(
      "exchange", "how tokens reach their experts on other ranks", choices,
      [target](size_t i) { *target = i == 0 ? std::nullopt : std::optional(static_cast<ExchangeStrategy>(i - 1)); },
      [target]() { return target->has_value() ? static_cast<size_t>(**target) + 1 : 0; });
}

Flag DTypeFlag(std::optional<DType>* target) {
  static constexpr DType kChoices[] = {DType::kBFloat16, DType::kFloat16};
  return ChoiceFlag(
      "dtype",
      "of activations and weights on GPUs; auto: float16 where the checkpoint's weights are float16, else bfloat16",
      {"auto", "bfloat16", "float16"},
      [target](size_t i) { *target = i == 0 ? std::nullopt : std::optional(kChoices[i - 1]); },
      [target]() { return !target->has_value()           ? size_t{0}
                          : **target == DType::kBFloat16 ? size_t{1}
                                                         : size_t{2}; });
}

// A switch that turns off what is on without it.
Flag NoFlag(std::string name, std::string help, bool* target) {
  Flag flag = SwitchFlag(std::move(name), std::move(help), target);
  flag.read = [target, read = std::move(flag.read)](const std::string& text) {
    const absl::Status status = read(text);
    if (status.ok()) *target = !*target;
    return status;
  };
  flag.show = [target]() -> std::optional<std::string> { return *target ? "false" : "true"; };
  return flag;
}

Flag LogLevelFlag(std::string* target) {
  static constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error", "off"};
  return ChoiceFlag(
      "log-level", "least severity that is logged, on standard error",
      std::vector<std::string>(std::begin(kLevels), std::end(kLevels)),
      [target](size_t i) { *target = std::string(kLevels[i]); },
      [target]() { return static_cast<size_t>(std::find(std::begin(kLevels), std::end(kLevels), *target) - kLevels); });
}

Flag GpusFlag(SettingsDraft* draft) {
  const char* help = "GPUs of this process, one rank each (--device cuda); ranks may share one: 0,0";
  if (draft->settings.command == Command::kPlan) {
    help = "GPUs, one rank each; or their sizes, 16GiB,24GiB, for GPUs that are elsewhere";
  }
  if (draft->settings.command == Command::kDoctor) help = "GPUs, one rank each; ranks may share one: 0,0; default: all";
  return TextFlag("gpus", "I,J,...", help, &draft->gpus);
}

void AddCollectiveFlags(EngineConfig& engine, std::vector<Flag>* flags) {
  const char* ranks = "Ranks";
  flags->push_back(
      In(ranks, ChoiceFlag(
                    "collectives", "between GPUs: auto takes NCCL where it can run; staged goes through host memory",
                    {"auto", "staged"}, [&engine](size_t i) { engine.staged_collectives = i == 1; },
                    [&engine]() { return engine.staged_collectives ? size_t{1} : size_t{0}; })));
  flags->push_back(In(ranks, DurationFlag("collective-timeout", "a rank that is silent for so long is lost",
                                          absl::Milliseconds(100), &engine.collective_timeout)));
}

void AddLogFlags(LogSettings& log, std::vector<Flag>* flags) {
  const char* other = "Numerics and logs";
  flags->push_back(In(other, LogLevelFlag(&log.level)));
  flags->push_back(
      In(other, EnumFlag("log-format", "lines for people or for machines", {"text", "json"}, &log.format)));
}

void AddEngineFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  EngineConfig& engine = draft->settings.engine;
  const char* model = "Model";
  flags->push_back(In(
      model, TextFlag("model", "DIR", "checkpoint directory as Hugging Face ships it; required", &engine.model_dir)));
  flags->push_back(
      In(model, IntFlagOf("max-model-len", "tokens of prompt and answer together; 0: the model's own limit",
                          {.remedy = "0 takes the model's own limit"}, &engine.max_model_len)));
  flags->push_back(In(model, EnumFlag("load-format", "the checkpoint's weights, or random ones of its shapes",
                                      {"auto", "dummy"}, &engine.load_format)));
  AddQuantizationFlags(draft, flags);
  flags->push_back(
      In(model, IntFlagOf("load-threads", "per rank; 0: 4 on a GPU, as many as the rank computes with on the CPU",
                          {.max = 256, .remedy = "0 chooses"}, &engine.load_threads)));

  const char* ranks = "Ranks";
  flags->push_back(In(ranks, EnumFlag("device", "where the ranks compute", {"cpu", "cuda"}, &engine.device)));
  flags->push_back(
      In(ranks, OptionalIntFlag("ranks", "ranks of this process that share the experts (--device cpu); default 1",
                                {.min = 1, .max = 1024}, &draft->ranks)));
  flags->push_back(In(ranks, GpusFlag(draft)));
  flags->push_back(In(ranks, EnumFlag("attention", "attention weights whole on every rank, or heads divided",
                                      {"replicated", "tensor-parallel"}, &engine.attention)));
  flags->push_back(In(ranks, ExchangeFlag(&engine.exchange)));
  AddCollectiveFlags(engine, flags);
  flags->push_back(In(ranks, DurationFlag("rank-timeout", "a process that gives no sign of life for so long is lost",
                                          absl::Milliseconds(100), &engine.rank_timeout)));
  flags->push_back(
      In(ranks, DurationFlag("connect-timeout", "how long processes wait for each other, at the start and at a restart",
                             absl::Seconds(1), &engine.connect_timeout)));
  flags->push_back(In(ranks, IntFlagOf("threads",
                                       "CPU threads of this process, divided among its ranks; 0: all cores (under a "
                                       "launcher, divided by the processes of this host)",
                                       {.max = 4096, .remedy = "0 takes all cores"}, &engine.num_threads)));

  const char* memory = "Memory and batching";
  flags->push_back(In(
      memory, SizeFlag("kv-cache", "KV cache per rank, as 4GiB or 512MB; 0: what the limits below need, within memory",
                       &engine.kv_cache_bytes)));
  flags->push_back(In(memory, KvDTypeFlag(&engine.kv_dtype)));
  AddOffloadFlags(&engine, flags);
  flags->push_back(In(memory, SizeFlag("gpu-reserve", "memory left free on each GPU", &engine.gpu_reserve_bytes)));
  flags->push_back(
      In(memory, IntFlagOf("page-size", "tokens per KV page", {.min = 1, .max = 1024}, &engine.page_size)));
  flags->push_back(In(memory, IntFlagOf("max-batch-tokens", "tokens computed per step; longer prompts are split",
                                        {.min = 1, .max = 1 << 20}, &engine.max_batch_tokens)));
  flags->push_back(In(memory, IntFlagOf("max-running-requests", "requests generated for at the same time",
                                        {.min = 1, .max = 1 << 16}, &engine.max_running_requests)));
  flags->push_back(In(memory, EnumFlag("admission",
                                       "a request runs once there is memory for its longest answer, or once there is "
                                       "for its prompt, and may have to be computed again",
                                       {"worst-case", "optimistic"}, &engine.admission)));
  flags->push_back(In(memory, SwitchFlag("prefix-caching", "prompts that begin like earlier ones go on from there",
                                         &engine.prefix_caching)));

  const char* other = "Numerics and logs";
  flags->push_back(In(other, DTypeFlag(&engine.dtype)));
  flags->push_back(In(
      other, NoFlag("no-cuda-graphs", "queue every kernel of a decode step anew, for debugging", &engine.cuda_graphs)));
  flags->push_back(In(
      other, EnumFlag("activations",
                      "of large matrix products on the CPU; bfloat16 is faster where AVX512_BF16 is there, int8 with "
                      "quantised weights",
                      {"float32", "bfloat16", "int8"}, &engine.activations)));
  flags->push_back(In(other, ChoiceFlag(
                                 "kernels", "fast, or plain loops to check them against", {"fast", "reference"},
                                 [&engine](size_t i) { engine.reference_kernels = i == 1; },
                                 [&engine]() { return engine.reference_kernels ? size_t{1} : size_t{0}; })));
  AddLogFlags(draft->settings.log, flags);
}

void AddLoadFlags(EngineConfig& engine, std::vector<Flag>* flags) {
  const char* load = "Load and faults";
  flags->push_back(In(load, IntFlagOf("max-queued-requests", "requests that may wait; more are refused",
                                      {.min = 1, .max = 1 << 20}, &engine.max_queued_requests)));
  flags->push_back(In(load, IntFlagOf("max-queued-tokens", "of the prompts of requests that wait; 0: no limit",
                                      {.remedy = "0 sets no limit"}, &engine.max_queued_tokens)));
  flags->push_back(
      In(load, DurationFlag("max-queue-seconds", "a request that has not begun by then is refused; 0: no limit",
                            absl::ZeroDuration(), &engine.max_queue_time)));
  flags->push_back(
      In(load, DurationFlag("max-request-seconds", "a request that has not finished by then is ended; 0: no limit",
                            absl::ZeroDuration(), &engine.max_request_time)));
  flags->push_back(In(load, IntFlagOf("restart-ranks",
                                      "after a rank is lost, tries to build the ranks anew and go on serving; 0: exit; "
                                      "the same for all processes",
                                      {.max = 1000}, &engine.restart_ranks)));
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

  AddLoadFlags(draft->settings.engine, flags);
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

void AddGenerateFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  GenerateSettings& generate = draft->settings.generate;
  const char* prompt = "Prompt";
  flags->push_back(
      In(prompt, TextFlag("prompt", "TEXT", "the text to continue; this or --prompt-tokens", &draft->prompt)));
  flags->push_back(
      In(prompt, TextFlag("prompt-tokens", "I,J,...", "token ids, used as they are", &draft->prompt_tokens)));
  flags->push_back(
      In(prompt, SwitchFlag("chat", "--prompt is a user's message: apply the chat template", &generate.chat)));

  const char* sampling = "Sampling";
  flags->push_back(
      In(sampling, IntFlagOf("max-tokens", "tokens to generate at most",
                             {.min = 1, .max = std::numeric_limits<int32_t>::max()}, &generate.max_tokens)));
  float* temperature = &generate.temperature;
  flags->push_back(In(sampling, FloatFlag(
                                    "temperature", "0 always takes the most likely token", {.max = 2},
                                    [temperature](float value) { *temperature = value; },
                                    [temperature]() { return std::optional<float>(*temperature); })));
  flags->push_back(In(sampling, OptionalIntFlag("top-k", "draw among the k most likely; 0: off; default: the model's",
                                                {.max = std::numeric_limits<int32_t>::max()}, &generate.top_k)));
  flags->push_back(In(sampling, OptionalFloatFlag("top-p",
                                                  "draw among the most likely with this total probability; "
                                                  "default: the model's",
                                                  {.min_excluded = true}, &generate.top_p)));
  flags->push_back(In(sampling, OptionalFloatFlag("min-p",
                                                  "draw among those with this share of the most likely's "
                                                  "probability; default 0: off",
                                                  {}, &generate.min_p)));
  flags->push_back(In(sampling, OptionalFloatFlag("repetition-penalty",
                                                  "above 1 discourages tokens seen before; "
                                                  "default: the model's",
                                                  {.max = 10, .min_excluded = true}, &generate.repetition_penalty)));
  flags->push_back(
      In(sampling, OptionalIntFlag("seed", "same seed, same answer; default: from the clock", {}, &generate.seed)));
  flags->push_back(
      In(sampling, SwitchFlag("ignore-eos", "go on after the end-of-sequence token", &generate.ignore_eos)));
  flags->push_back(
      In(sampling, RepeatableFlag("stop", "TEXT", "end before this text; may be repeated", &generate.stop)));
  flags->push_back(In("Output", SwitchFlag("json", "one JSON object instead of the text as it comes", &generate.json)));
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
  AddCollectiveFlags(draft->settings.engine, flags);
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
  if (command == Command::kServe) AddServeFlags(draft, &flags);
  return flags;
}

}  // namespace switchyard
