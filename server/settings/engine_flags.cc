#include "server/settings/engine_flags.h"

#include <optional>
#include <string>
#include <utility>

#include "server/settings/offload_flags.h"
#include "server/settings/quantization_flags.h"

namespace switchyard {
namespace {

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

}  // namespace

Flag GpusFlag(SettingsDraft* draft) {
  const char* help = "GPUs of this process, one rank each (--device cuda); ranks may share one: 0,0";
  if (draft->settings.command == Command::kPlan) {
    help = "GPUs, one rank each; or their sizes, 16GiB,24GiB, for GPUs that are elsewhere";
  }
  if (draft->settings.command == Command::kDoctor) help = "GPUs, one rank each; ranks may share one: 0,0; default: all";
  return TextFlag("gpus", "I,J,...", help, &draft->gpus);
}

void AddCollectiveFlags(EngineConfig* engine, std::vector<Flag>* flags) {
  const char* ranks = "Ranks";
  flags->push_back(
      In(ranks, ChoiceFlag(
                    "collectives", "between GPUs: auto takes NCCL where it can run; staged goes through host memory",
                    {"auto", "staged"}, [engine](size_t i) { engine->staged_collectives = i == 1; },
                    [engine]() { return engine->staged_collectives ? size_t{1} : size_t{0}; })));
  flags->push_back(In(ranks, DurationFlag("collective-timeout", "a rank that is silent for so long is lost",
                                          absl::Milliseconds(100), &engine->collective_timeout)));
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
  AddCollectiveFlags(&engine, flags);
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
}

void AddLoadFlags(EngineConfig* engine, std::vector<Flag>* flags) {
  const char* load = "Load and faults";
  flags->push_back(In(load, IntFlagOf("max-queued-requests", "requests that may wait; more are refused",
                                      {.min = 1, .max = 1 << 20}, &engine->max_queued_requests)));
  flags->push_back(In(load, IntFlagOf("max-queued-tokens", "of the prompts of requests that wait; 0: no limit",
                                      {.remedy = "0 sets no limit"}, &engine->max_queued_tokens)));
  flags->push_back(
      In(load, DurationFlag("max-queue-seconds", "a request that has not begun by then is refused; 0: no limit",
                            absl::ZeroDuration(), &engine->max_queue_time)));
  flags->push_back(
      In(load, DurationFlag("max-request-seconds", "a request that has not finished by then is ended; 0: no limit",
                            absl::ZeroDuration(), &engine->max_request_time)));
  flags->push_back(In(load, IntFlagOf("restart-ranks",
                                      "after a rank is lost, tries to build the ranks anew and go on serving; 0: exit; "
                                      "the same for all processes",
                                      {.max = 1000}, &engine->restart_ranks)));
}

}  // namespace switchyard
