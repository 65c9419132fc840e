#include "server/openai/generation.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http/sse.h"
#include "server/openai/best_of.h"
#include "server/openai/errors.h"
#include "server/openai/json_text.h"
#include "server/openai/log_probs.h"
#include "server/openai/mailbox.h"
#include "server/openai/request_plan.h"

namespace switchyard::openai {
namespace {

using nlohmann::ordered_json;

// nullopt: `update` is no fault.
std::optional<ApiError> FaultOf(const RequestUpdate& update) {
  if (update.finish != FinishReason::kError && update.finish != FinishReason::kAborted) return std::nullopt;
  if (!update.status.ok()) return FromStatus(update.status);
  if (update.finish == FinishReason::kAborted) {
    return ApiError{.status = 503, .message = "the request was aborted", .code = "aborted"};
  }
  return ApiError{.status = 500, .message = "the engine gave up on the request; the server's log has the details"};
}

class Generation : public http::Answer {
 public:
  explicit Generation(GenerationStart start);
  ~Generation() override { Cancel(); }

  // OK, or why the engine took none or not all of it.
  absl::Status Submit();

  std::optional<http::Response> Head() override;
  bool Read(std::string* out) override;
  void Cancel() override;

 private:
  std::optional<http::Response> WholeHead();
  std::optional<http::Response> StreamHead();
  bool WriteUpdate(const Mailbox::Letter& letter, std::string* out);
  void WriteFault(const ApiError& fault, std::string* out);
  void WriteChunk(ordered_json choices, std::string* out);
  bool WriteEnd(std::string* out);
  ordered_json Envelope(const char* object_name) const;
  ordered_json UsageSoFar() const;

  // constant after construction
  const GenerationPlan plan_;
  const ModelContext model_;
  const std::unique_ptr<ResponseFormat> format_;
  const int64_t created_;
  const http::Waker waker_;
  const std::shared_ptr<RequestScope> scope_;
  const std::shared_ptr<Mailbox> mailbox_;               // shared with the engine's callbacks
  std::shared_ptr<const std::vector<std::string>> ids_;  // in the engine, of all choices; shared with the callbacks

  // touched by one io thread at a time
  std::vector<ChoiceProgress> choices_;
  std::vector<Mailbox::Letter> letters_;  // taken from the mailbox by Head, for Read
  size_t num_finished_ = 0;
  bool done_ = false;
};

Generation::Generation(GenerationStart start)
    : plan_(std::move(start.plan)),
      model_(start.model),
      format_(start.make_format(&plan_, model_.tokenizer())),
      created_(absl::ToUnixSeconds(absl::Now())),
      waker_(std::move(start.waker)),
      scope_(std::move(start.scope)),
      mailbox_(std::make_shared<Mailbox>(
          Mailbox::Options{.num_choices = plan_.prompts.size() * plan_.candidates,
                           .merge_after = plan_.stream ? model_.limits->merge_after_updates : 0,
                           .max_bytes = plan_.stream ? model_.limits->max_pending_bytes : 0})) {
  auto ids = std::make_shared<std::vector<std::string>>();
  for (const Prompt& prompt : plan_.prompts) {
    for (int32_t i = 0; i < plan_.candidates; ++i) {
      const int32_t index = static_cast<int32_t>(choices_.size());
      ids->push_back(absl::StrCat(plan_.response_id, "#", start.serial, "-", index));
      choices_.push_back(
          {.index = index,
           .prompt = &prompt,
           .offsets = TextOffsets(model_.tokenizer(), plan_.request.skip_special_tokens, /*starts_text=*/plan_.echo)});
    }
  }
  ids_ = std::move(ids);
}

absl::Status Generation::Submit() {
  for (size_t i = 0; i < choices_.size(); ++i) {
    GenerationRequest request = RequestOf(plan_, i);
    request.id = (*ids_)[i];
    const auto on_update = [mailbox = mailbox_, waker = waker_, scope = scope_, ids = ids_, engine = model_.engine,
                            stream = plan_.stream, num_choices = choices_.size(), i](RequestUpdate update) {
      scope->OnUpdate(i, update);
      const bool finished = update.finish.has_value();
      const Mailbox::Delivery delivery = mailbox->Put(i, std::move(update));
      if (delivery == Mailbox::Delivery::kOverflowed) {
        for (const std::string& id : *ids) engine->Abort(id);
      }
      // Without a stream only the end is news.
      const bool news = stream || (finished && mailbox->num_finished() == num_choices);
      if (delivery != Mailbox::Delivery::kDropped && news) waker();
    };
    if (absl::Status status = model_.engine->Submit(std::move(request), on_update); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

std::optional<http::Response> Generation::Head() { return plan_.stream ? StreamHead() : WholeHead(); }

std::optional<http::Response> Generation::WholeHead() {
  if (mailbox_->num_finished() < choices_.size()) return std::nullopt;
  done_ = true;
  const std::vector<Mailbox::Letter> letters = mailbox_->TakeAll();
  std::vector<RequestUpdate> updates;  // one per candidate: a mailbox without a stream merges
  for (const Mailbox::Letter& letter : letters) {
    if (const std::optional<ApiError> fault = FaultOf(letter.update)) return ErrorResponse(*fault);
    choices_[letter.choice].usage = letter.update.usage;
    updates.push_back(letter.update);
  }
  ordered_json body = Envelope(format_->object_name());
  body["choices"] = ordered_json::array();
  for (size_t candidate : BestCandidates(updates, plan_.candidates, plan_.n)) {
    ChoiceProgress& choice = choices_[candidate];
    choice.index = static_cast<int32_t>(body["choices"].size());
    body["choices"].push_back(format_->Whole(updates[candidate], &choice));
    if (plan_.num_prompt_logprobs >= 0) {
      body["choices"].back()["prompt_logprobs"] = PromptLogProbs(
          model_.tokenizer(), choice.prompt->ids, updates[candidate].prompt_logprobs, plan_.num_prompt_logprobs);
    }
  }
  body["usage"] = UsageSoFar();
  return http::Response{.body = Dump(body)};
}

// Only with the first news: an error before the first token still gets its status.
std::optional<http::Response> Generation::StreamHead() {
  letters_ = mailbox_->TakeAll();
  if (letters_.empty()) return std::nullopt;
  const RequestUpdate& first = letters_.front().update;
  if (const std::optional<ApiError> fault = FaultOf(first); fault.has_value() && first.tokens.empty()) {
    Cancel();
    return ErrorResponse(*fault);
  }
  return http::Response{.content_type = http::kEventStreamType,
                        .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                        .stream = true};
}

bool Generation::Read(std::string* out) {
  std::vector<Mailbox::Letter> letters = std::exchange(letters_, {});
  for (Mailbox::Letter& letter : mailbox_->TakeAll()) letters.push_back(std::move(letter));
  for (const Mailbox::Letter& letter : letters) {
    if (!WriteUpdate(letter, out)) return false;
  }
  if (mailbox_->overflowed()) {
    WriteFault({.status = 503,
                .message = absl::StrCat("the client read too slowly: more than ", model_.limits->max_pending_bytes,
                                        " bytes were waiting to be sent, and the request was aborted"),
                .code = "slow_reader"},
               out);
    return false;
  }
  return num_finished_ < choices_.size() || WriteEnd(out);
}

// False: the stream ends with an error.
bool Generation::WriteUpdate(const Mailbox::Letter& letter, std::string* out) {
  const RequestUpdate& update = letter.update;
  ChoiceProgress& choice = choices_[letter.choice];
  choice.usage = update.usage;
  if (format_->HasDelta(choice, update)) WriteChunk(ordered_json::array({format_->Delta(update, &choice)}), out);
  if (!update.finish.has_value()) return true;
  if (const std::optional<ApiError> fault = FaultOf(update)) {
    WriteFault(*fault, out);
    return false;
  }
  ++num_finished_;
  WriteChunk(ordered_json::array({format_->Finish(update, &choice)}), out);
  return true;
}

void Generation::WriteFault(const ApiError& fault, std::string* out) {
  http::AppendEvent(ErrorJson(fault), out);
  Cancel();
}

void Generation::WriteChunk(ordered_json choices, std::string* out) {
  ordered_json chunk = Envelope(format_->chunk_object_name());
  chunk["choices"] = std::move(choices);
  if (plan_.continuous_usage) {
    chunk["usage"] = UsageSoFar();
  } else if (plan_.include_usage) {
    chunk["usage"] = nullptr;
  }
  http::AppendEvent(Dump(chunk), out);
}

// False, as Read at the end.
bool Generation::WriteEnd(std::string* out) {
  if (plan_.include_usage) {
    ordered_json chunk = Envelope(format_->chunk_object_name());
    chunk["choices"] = ordered_json::array();
    chunk["usage"] = UsageSoFar();
    http::AppendEvent(Dump(chunk), out);
  }
  http::AppendEvent("[DONE]", out);
  done_ = true;
  return false;
}

ordered_json Generation::Envelope(const char* object_name) const {
  return {{"id", plan_.response_id}, {"object", object_name}, {"created", created_}, {"model", *model_.served_name}};
}

ordered_json Generation::UsageSoFar() const {
  int64_t prompt = 0;
  for (const Prompt& entry : plan_.prompts) prompt += static_cast<int64_t>(entry.ids.size());
  int64_t completion = 0;
  // Of the candidates of one prompt, each of which finds what an earlier one has computed, the one that found least.
  int64_t cached = 0;
  for (size_t i = 0; i < choices_.size(); i += static_cast<size_t>(plan_.candidates)) {
    int32_t least = choices_[i].usage.cached_tokens;
    for (const ChoiceProgress& choice : std::span(choices_).subspan(i, static_cast<size_t>(plan_.candidates))) {
      completion += choice.usage.completion_tokens;
      least = std::min(least, choice.usage.cached_tokens);
    }
    cached += least;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

void Generation::Cancel() {
  if (std::exchange(done_, true)) return;
  mailbox_->Close();
  for (const std::string& id : *ids_) model_.engine->Abort(id);
}

}  // namespace

std::unique_ptr<http::Answer> StartGeneration(GenerationStart start) {
  auto generation = std::make_unique<Generation>(std::move(start));
  if (absl::Status status = generation->Submit(); !status.ok()) return ErrorAnswer(FromStatus(status));
  return generation;
}

}  // namespace switchyard::openai
