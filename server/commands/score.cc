#include "server/commands/score.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/distribution_model.h"
#include "server/commands/startup.h"
#include "server/commands/update_queue.h"

namespace switchyard {
namespace {

struct Line {
  int number = 0;  // in the input, from 1
  std::vector<int32_t> tokens;
  std::string text;  // instead of tokens, until they are known
  bool is_text = false;
};

absl::Status Refuse(const Line& line, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("--input line ", line.number, ": ", why));
}

absl::Status ParseLine(const std::string& json, Line* line) {
  constexpr char kExpected[] = "expected {\"tokens\": [1, 5, 9]} or {\"text\": \"...\"}";
  const nlohmann::json object = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || object.contains("tokens") == object.contains("text")) return Refuse(*line, kExpected);
  if (object.contains("text")) {
    if (!object["text"].is_string()) return Refuse(*line, kExpected);
    line->is_text = true;
    line->text = object["text"].get<std::string>();
    return absl::OkStatus();
  }
  if (!object["tokens"].is_array()) return Refuse(*line, kExpected);
  for (const nlohmann::json& id : object["tokens"]) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return Refuse(*line, absl::StrCat("`tokens` has ", id.dump(), ", which is no token id"));
    }
    line->tokens.push_back(id.get<int32_t>());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Line>> ReadLines(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return absl::InvalidArgumentError(absl::StrCat("--input ", path, ": cannot be read"));
  }
  std::istream& input = path == "-" ? std::cin : file;
  std::vector<Line> lines;
  int number = 0;
  for (std::string text; std::getline(input, text);) {
    ++number;
    if (absl::StripAsciiWhitespace(text).empty()) continue;
    Line& line = lines.emplace_back();
    line.number = number;
    if (absl::Status status = ParseLine(text, &line); !status.ok()) return status;
  }
  return lines;
}

// What only the model can say: tokens of texts, the vocabulary, the context.
absl::Status Prepare(const Engine& engine, std::vector<Line>* lines) {
  const int64_t vocab_size = engine.model_info().spec.vocab_size;
  const int64_t max_length = engine.model_info().max_model_len;
  for (Line& line : *lines) {
    if (line.is_text) {
      if (engine.tokenizer() == nullptr) {
        return Refuse(line, "`text` needs a tokenizer, and the model's directory has none; give `tokens`");
      }
      line.tokens = engine.tokenizer()->Encode(line.text, {});
    }
    if (line.tokens.empty()) return Refuse(line, "there is no token to score");
    if (static_cast<int64_t>(line.tokens.size()) > max_length) {
      return Refuse(line, absl::StrCat(line.tokens.size(), " tokens are more than the context of ", max_length,
                                       " (--max-model-len)"));
    }
    const int32_t largest = *std::max_element(line.tokens.begin(), line.tokens.end());
    if (largest >= vocab_size) {
      return Refuse(line, absl::StrCat("token id ", largest, " is outside the vocabulary of ", vocab_size, " ids"));
    }
  }
  return absl::OkStatus();
}

std::string ToJson(const Line& line, const std::vector<PromptLogProb>& logprobs, int32_t last_top1) {
  double sum = 0;
  std::vector<int32_t> top1;
  for (const PromptLogProb& entry : logprobs) {
    sum += entry.logprob;
    top1.push_back(entry.top1);
  }
  top1.push_back(last_top1);
  const std::string perplexity =
      logprobs.empty() ? "null" : absl::StrFormat("%.9g", std::exp(-sum / static_cast<double>(logprobs.size())));
  return absl::StrCat("{\"tokens\": [", absl::StrJoin(line.tokens, ", "), "], \"logprobs\": [",
                      absl::StrJoin(logprobs, ", ",
                                    [](std::string* out, const PromptLogProb& entry) {
                                      absl::StrAppendFormat(out, "%.9g", entry.logprob);
                                    }),
                      "], \"top1\": [", absl::StrJoin(top1, ", "), "], \"perplexity\": ", perplexity, "}");
}

absl::Status Score(const std::vector<Line>& lines, size_t batch, Engine* engine) {
  const auto updates = std::make_shared<UpdateQueue>();  // outlives an early return: other lines may be in the engine
  std::map<size_t, std::string> done;                    // those that wait for one before them
  size_t num_submitted = 0;
  size_t num_printed = 0;
  while (num_printed < lines.size()) {
    while (num_submitted < lines.size() && num_submitted - num_printed < batch) {
      const size_t idx = num_submitted++;
      GenerationRequest request;
      request.id = absl::StrCat("line ", lines[idx].number);
      request.prompt = lines[idx].tokens;
      request.stop.max_tokens = 0;
      request.num_prompt_logprobs = 0;
      request.detokenize = false;
      const absl::Status status = engine->Submit(
          std::move(request), [updates, idx](RequestUpdate update) { updates->Push(idx, std::move(update)); });
      if (!status.ok()) {
        return absl::Status(status.code(), absl::StrCat("--input line ", lines[idx].number, ": ", status.message()));
      }
    }
    const UpdateQueue::Item item = updates->Pop();
    const RequestUpdate& update = item.update;
    const Line& line = lines[item.request_idx];
    if (update.prompt_logprobs.has_value()) {
      done[item.request_idx] = ToJson(line, *update.prompt_logprobs, update.prompt_top1);
    }
    if (update.finish == FinishReason::kError || update.finish == FinishReason::kAborted) {
      return absl::Status(update.status.ok() ? absl::StatusCode::kInternal : update.status.code(),
                          absl::StrCat("--input line ", line.number, ": ", update.status.message()));
    }
    for (auto next = done.find(num_printed); next != done.end(); next = done.find(num_printed)) {
      std::cout << next->second << "\n";
      done.erase(next);
      ++num_printed;
    }
    std::cout << std::flush;
  }
  return absl::OkStatus();
}

// Of tokens[1..] after those before.
double SumOfLogProbs(const std::vector<float>& logprobs, const std::vector<int32_t>& tokens, int64_t vocab_size) {
  double sum = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    sum += logprobs[(i - 1) * static_cast<size_t>(vocab_size) + static_cast<size_t>(tokens[i])];
  }
  return sum;
}

absl::Status Compare(const Settings& settings, const std::vector<Line>& lines) {
  EngineConfig reference_config = settings.engine;
  reference_config.model_dir = settings.score.against;
  reference_config.quantize = {};
  reference_config.kv_dtype = std::nullopt;
  reference_config.activations = CpuActivations::kFloat32;
  const auto model = DistributionModel::Create(settings.engine, {});
  if (!model.ok()) return model.status();
  const auto reference = DistributionModel::Create(reference_config, {});
  if (!reference.ok()) {
    return absl::Status(reference.status().code(), absl::StrCat("--against: ", reference.status().message()));
  }
  const int64_t vocab = (*model)->vocab_size();
  if ((*reference)->vocab_size() != vocab) {
    return absl::InvalidArgumentError(absl::StrCat("--against: its vocabulary has ", (*reference)->vocab_size(),
                                                   " ids, that of --model ", vocab, "; they must be the same"));
  }
  DivergenceMeter divergence;
  double sum = 0;
  double reference_sum = 0;
  int64_t num_scored = 0;
  for (const Line& line : lines) {
    const absl::StatusOr<std::vector<float>> q = (*model)->LogProbs(line.tokens);
    if (!q.ok()) return q.status();
    const absl::StatusOr<std::vector<float>> p = (*reference)->LogProbs(line.tokens);
    if (!p.ok()) return p.status();
    divergence.Add(*p, *q, vocab);
    sum += SumOfLogProbs(*q, line.tokens, vocab);
    reference_sum += SumOfLogProbs(*p, line.tokens, vocab);
    num_scored += static_cast<int64_t>(line.tokens.size()) - 1;
  }
  const double count = std::max<double>(1, static_cast<double>(num_scored));
  std::cout << absl::StrFormat(
                   "{\"against\": %s, \"tokens\": %d, \"perplexity\": %.9g, \"reference_perplexity\": %.9g, "
                   "\"mean_kl\": %.6g, \"worst_kl\": %.6g, \"top1_agreement\": %.6g}\n",
                   nlohmann::json(settings.score.against).dump(), num_scored, std::exp(-sum / count),
                   std::exp(-reference_sum / count), divergence.mean(), divergence.worst(), divergence.agreement())
            << std::flush;
  return absl::OkStatus();
}

}  // namespace

int RunScore(const Settings& settings) {
  absl::StatusOr<std::vector<Line>> lines = ReadLines(settings.score.input);
  if (!lines.ok()) return Report(lines.status());
  EngineConfig config = settings.engine;
  config.max_queued_requests = settings.score.batch;
  config.max_queued_tokens = 0;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(config, ShowProgress());
  if (!engine.ok()) return Report(engine.status());
  LogWarnings(**engine);
  if (absl::Status status = Prepare(**engine, &*lines); !status.ok()) return Report(status);
  const absl::Status status = Score(*lines, static_cast<size_t>(settings.score.batch), engine->get());
  if (!status.ok() || settings.score.against.empty()) return Report(status);
  engine->reset();
  return Report(Compare(settings, *lines));
}

}  // namespace switchyard
