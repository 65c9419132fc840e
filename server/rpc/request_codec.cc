#include "server/rpc/request_codec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "server/rpc/prompt_codec.h"
#include "server/version.h"

namespace switchyard {
namespace {

constexpr int32_t kDefaultMaxTokens = 16;  // of the OpenAI API, for text and token prompts

SamplingParams ToSampling(const v1::SamplingParams& message, const GenerationDefaults& defaults) {
  SamplingParams sampling;
  sampling.temperature =
      message.has_temperature() ? message.temperature() : defaults.temperature.value_or(sampling.temperature);
  sampling.top_k = message.has_top_k() ? message.top_k() : defaults.top_k.value_or(sampling.top_k);
  sampling.top_p = message.has_top_p() ? message.top_p() : defaults.top_p.value_or(sampling.top_p);
  sampling.repetition_penalty = message.has_repetition_penalty()
                                    ? message.repetition_penalty()
                                    : defaults.repetition_penalty.value_or(sampling.repetition_penalty);
  if (message.has_min_p()) sampling.min_p = message.min_p();
  if (message.has_presence_penalty()) sampling.presence_penalty = message.presence_penalty();
  if (message.has_frequency_penalty()) sampling.frequency_penalty = message.frequency_penalty();
  if (message.has_seed()) sampling.seed = message.seed();
  for (const auto& [id, bias] : message.logit_bias()) sampling.logit_bias[id] = bias;
  return sampling;
}

absl::StatusOr<TokenRules> ToRules(const v1::GenerateRequest& message, const Engine& engine) {
  TokenRules rules;
  const auto& allowed = message.sampling().allowed_token_ids();
  rules.allowed_ids.assign(allowed.begin(), allowed.end());
  const auto& bad_words = message.sampling().bad_words();
  const bool is_constrained = message.constraint().kind_case() != v1::Constraint::KIND_NOT_SET &&
                              (!message.constraint().has_json_object() || message.constraint().json_object());
  if (!is_constrained && bad_words.empty()) return rules;
  if (engine.constraints() == nullptr) {
    return absl::UnimplementedError("this model has no tokenizer: `constraint` and `bad_words` need one");
  }
  if (!bad_words.empty()) {
    absl::StatusOr<std::shared_ptr<ForbiddenTexts>> forbidden =
        engine.constraints()->Forbid(std::vector<std::string>(bad_words.begin(), bad_words.end()));
    if (!forbidden.ok()) return forbidden.status();
    rules.forbidden = *std::move(forbidden);
  }
  if (!is_constrained) return rules;
  ConstraintSpec spec = {.leading_space_is_dropped = message.has_chat() && engine.tokenizer()->drops_leading_space()};
  if (message.constraint().has_json_schema()) {
    spec.kind = ConstraintSpec::Kind::kJsonSchema;
    spec.text = message.constraint().json_schema();
  } else if (message.constraint().has_regex()) {
    spec.kind = ConstraintSpec::Kind::kRegex;
    spec.text = message.constraint().regex();
  } else if (message.constraint().has_choice()) {
    spec.kind = ConstraintSpec::Kind::kChoice;
    const auto& texts = message.constraint().choice().texts();
    spec.choices.assign(texts.begin(), texts.end());
  }
  absl::StatusOr<std::shared_ptr<Grammar>> grammar = engine.constraints()->Compile(spec);
  if (!grammar.ok()) {
    return absl::Status(grammar.status().code(), absl::StrCat("`constraint`: ", grammar.status().message()));
  }
  rules.grammar = *std::move(grammar);
  return rules;
}

StopParams ToStop(const v1::StopParams& message, int32_t default_max_tokens) {
  StopParams stop;
  stop.max_tokens = message.has_max_tokens() ? message.max_tokens() : default_max_tokens;
  stop.min_tokens = message.min_tokens();
  stop.strings.assign(message.strings().begin(), message.strings().end());
  stop.token_ids.assign(message.token_ids().begin(), message.token_ids().end());
  stop.ignore_eos = message.ignore_eos();
  stop.include_stop_string = message.include_stop_string();
  return stop;
}

template <typename Entry>
void Fill(const Entry& from, v1::TokenLogProbs* to) {
  to->set_logprob(from.logprob);
  for (const TokenLogProb& top : from.top) {
    v1::TokenLogProb* entry = to->add_top();
    entry->set_token_id(top.id);
    entry->set_logprob(top.logprob);
  }
}

v1::FinishReason ToFinishReason(FinishReason reason) {
  return reason == FinishReason::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH;
}

bool EndsWell(const RequestUpdate& update) {
  return update.finish == FinishReason::kStop || update.finish == FinishReason::kLength;
}

}  // namespace

absl::StatusOr<GenerationRequest> ToEngineRequest(const v1::GenerateRequest& message, const Engine& engine,
                                                  const std::string& served_model_name) {
  if (!message.model().empty() && message.model() != served_model_name) {
    return absl::NotFoundError(absl::StrCat("`model` is \"", message.model(), "\", but this server serves \"",
                                            served_model_name, "\": name that or leave it empty"));
  }
  absl::StatusOr<std::vector<int32_t>> prompt = EncodePrompt(message, engine);
  if (!prompt.ok()) return prompt.status();

  const int64_t context = engine.model_info().max_model_len;
  const int64_t room = context - static_cast<int64_t>(prompt->size());
  if (room > 0 && message.stop().max_tokens() > room) {
    return absl::InvalidArgumentError(absl::StrCat(
        "`max_tokens` asks for too much: this model's context is ", context, " tokens, and the prompt's ",
        prompt->size(), " with ", message.stop().max_tokens(), " to generate are ",
        static_cast<int64_t>(prompt->size()) + message.stop().max_tokens(), "; shorten the prompt or lower it"));
  }
  const int64_t longest = std::max<int64_t>(room, 1);
  const auto default_max_tokens =
      static_cast<int32_t>(message.has_chat() ? longest : std::min<int64_t>(longest, kDefaultMaxTokens));
  GenerationRequest request;
  request.id = message.request_id();
  request.prompt = *std::move(prompt);
  request.sampling = ToSampling(message.sampling(), engine.model_info().defaults);
  request.stop = ToStop(message.stop(), default_max_tokens);
  absl::StatusOr<TokenRules> rules = ToRules(message, engine);
  if (!rules.ok()) return rules.status();
  request.rules = *std::move(rules);
  if (message.has_num_logprobs()) request.num_logprobs = message.num_logprobs();
  if (message.has_num_prompt_logprobs()) request.num_prompt_logprobs = message.num_prompt_logprobs();
  if (message.has_skip_special_tokens()) request.skip_special_tokens = message.skip_special_tokens();
  request.detokenize = message.has_detokenize() ? message.detokenize() : engine.tokenizer() != nullptr;
  request.text_continues_prompt = !message.has_chat();
  request.priority = message.priority();
  request.cache_salt = message.cache_salt();
  request.return_experts = message.return_expert_ids();
  return request;
}

v1::GenerateResponse ToResponse(const std::string& request_id, const RequestUpdate& update, bool with_logprobs) {
  v1::GenerateResponse response;
  response.set_request_id(request_id);
  response.set_text(update.text);
  for (const GeneratedToken& token : update.tokens) {
    response.add_token_ids(token.id);
    if (with_logprobs) Fill(token, response.add_logprobs());
    if (!token.experts.empty()) {
      response.add_expert_ids()->mutable_ids()->Assign(token.experts.begin(), token.experts.end());
    }
  }
  if (update.prompt_logprobs.has_value()) {
    v1::PromptLogProbs* prompt = response.mutable_prompt_logprobs();
    for (const PromptLogProb& entry : *update.prompt_logprobs) {
      Fill(entry, prompt->add_entries());
      prompt->add_top1(entry.top1);
    }
    prompt->add_top1(update.prompt_top1);
  }
  v1::Usage* usage = response.mutable_usage();
  usage->set_prompt_tokens(update.usage.prompt_tokens);
  usage->set_completion_tokens(update.usage.completion_tokens);
  usage->set_cached_tokens(update.usage.cached_tokens);
  if (EndsWell(update)) {
    v1::Finish* finish = response.mutable_finish();
    finish->set_reason(ToFinishReason(*update.finish));
    if (!update.matched_stop.empty()) {
      finish->set_stop_string(update.matched_stop);
    } else if (update.matched_stop_id >= 0) {
      finish->set_stop_token_id(update.matched_stop_id);
    }
    v1::Timings* timings = finish->mutable_timings();
    timings->set_queue_us(absl::ToInt64Microseconds(update.timings.queue));
    timings->set_prefill_us(absl::ToInt64Microseconds(update.timings.prefill));
    timings->set_decode_us(absl::ToInt64Microseconds(update.timings.decode));
  }
  return response;
}

absl::Status EndStatus(const std::string& request_id, const RequestUpdate& update) {
  CHECK(update.finish.has_value());
  if (EndsWell(update)) return absl::OkStatus();
  if (!update.status.ok()) return update.status;
  if (update.finish == FinishReason::kAborted) {
    return absl::CancelledError(absl::StrCat("request \"", request_id, "\" was aborted"));
  }
  return absl::InternalError(absl::StrCat("request \"", request_id, "\" failed"));
}

v1::GetModelInfoResponse ToModelInfo(const Engine& engine, const std::string& served_model_name) {
  const ModelInfo& info = engine.model_info();
  v1::GetModelInfoResponse response;
  response.set_model(served_model_name);
  response.set_model_type(info.spec.model_type);
  response.set_max_model_len(info.max_model_len);
  response.set_vocab_size(info.spec.vocab_size);
  response.set_num_layers(info.spec.num_layers);
  response.set_num_experts(info.spec.num_experts);
  response.set_experts_per_token(info.spec.experts_per_token);
  for (const int32_t id : info.spec.eos_token_ids) response.add_eos_token_ids(id);
  response.set_has_tokenizer(engine.tokenizer() != nullptr);
  response.set_has_chat_template(engine.chat_template() != nullptr);
  response.set_world_size(info.world_size);
  response.set_attention(info.attention);
  response.set_exchange(info.exchange);
  response.set_placement(info.placement);
  response.set_device(info.device);
  response.set_server_version(kServerVersion);
  return response;
}

v1::GetLoadResponse ToLoad(const EngineStats& stats) {
  v1::GetLoadResponse response;
  response.set_num_requests_running(stats.num_requests_running);
  response.set_num_requests_waiting(stats.num_requests_waiting);
  response.set_num_tokens_waiting(stats.num_tokens_waiting);
  for (size_t i = 0; i < kNumRejectReasons; ++i) {
    (*response.mutable_num_requests_rejected())[Name(static_cast<RejectReason>(i))] = stats.requests_rejected[i];
  }
  response.set_kv_pages_total(stats.kv_pages_total);
  response.set_kv_pages_used(stats.kv_pages_used);
  response.set_prompt_tokens(stats.prompt_tokens);
  response.set_generation_tokens(stats.generation_tokens);
  response.set_num_preemptions(stats.num_preemptions);
  return response;
}

v1::GetExpertLoadResponse ToExpertLoad(const EngineStats& stats) {
  v1::GetExpertLoadResponse response;
  for (size_t layer = 0; layer < stats.expert_tokens.size(); ++layer) {
    v1::LayerExpertLoad* load = response.add_layers();
    for (const uint64_t tokens : stats.expert_tokens[layer]) load->add_expert_tokens(tokens);
    if (layer < stats.rank_load_max_over_mean.size()) {
      load->set_rank_load_max_over_mean(stats.rank_load_max_over_mean[layer]);
    }
  }
  return response;
}

}  // namespace switchyard
