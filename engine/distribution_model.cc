#include "engine/distribution_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/startup.h"
#include "kernels/check.h"
#include "parallel/communicators/in_process.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<DistributionModel>> DistributionModel::Create(const EngineConfig& requested,
                                                                             const LoadProgressCallback& progress) {
  if (requested.device != DeviceKind::kCpu) {
    return absl::InvalidArgumentError("whole distributions need --device cpu: GPUs give no more than the most likely");
  }
  EngineConfig config = requested;
  config.num_local_ranks = 1;
  config.max_running_requests = 1;
  config.kv_cache_bytes = 0;
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenModel(config);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<EnginePlan> plan = MakeEnginePlan(config, (*checkpoint)->spec(), /*world_size=*/1);
  if (!plan.ok()) return plan.status();
  std::unique_ptr<DistributionModel> model(new DistributionModel(*std::move(checkpoint), *std::move(plan)));
  model->communicator_ = std::move(CreateInProcessCommunicators(1, absl::InfiniteDuration()).front());
  absl::StatusOr<std::unique_ptr<RankWorker>> worker =
      RankWorker::Create(model->plan_, *model->checkpoint_, *model->communicator_, /*local_rank=*/0, progress);
  if (!worker.ok()) return worker.status();
  model->worker_ = *std::move(worker);
  const absl::Status status = model->worker_->WarmUp().status();
  if (!status.ok()) return status;
  return model;
}

absl::StatusOr<std::vector<float>> DistributionModel::LogProbs(std::span<const int32_t> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t vocab = vocab_size();
  if (count > plan_.config.max_model_len) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " tokens are more than the context of ", plan_.config.max_model_len, " (--max-model-len)"));
  }
  for (const int32_t id : tokens) {
    if (id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(absl::StrCat("token id ", id, " is outside the vocabulary of ", vocab, " ids"));
    }
  }
  std::vector<int32_t> pages(static_cast<size_t>(plan_.pages_per_sequence()));
  std::iota(pages.begin(), pages.end(), 0);
  std::vector<float> logprobs(static_cast<size_t>(count * vocab));
  const int64_t most = plan_.config.max_batch_tokens;
  for (int64_t begin = 0; begin < count; begin += most) {
    const int64_t end = std::min(count, begin + most);
    Batch batch;
    batch.exchange = plan_.exchanges.front();
    batch.tokens.assign(tokens.begin() + begin, tokens.begin() + end);
    batch.pages = pages;
    batch.sequences.push_back({.num_tokens = static_cast<int32_t>(end - begin),
                               .position = static_cast<int32_t>(begin),
                               .num_pages = static_cast<int32_t>(pages.size())});
    for (int64_t i = begin; i < end; ++i) {
      batch.scores.push_back({.token = static_cast<int32_t>(i - begin),
                              .row = {.target = 0, .num_top_logprobs = static_cast<int32_t>(vocab)}});
    }
    const absl::StatusOr<StepOutput> output = worker_->Step(batch);
    if (!output.ok()) return output.status();
    for (const StepOutput::Scored& scored : output->scores) {
      float* row = logprobs.data() + (begin + scored.index) * vocab;
      if (static_cast<int64_t>(scored.token.top.size()) != vocab) {
        return absl::InternalError(absl::StrCat("position ", begin + scored.index, ": the logits are not finite"));
      }
      for (const TokenLogProb& entry : scored.token.top) row[entry.id] = entry.logprob;
    }
  }
  return logprobs;
}

void DivergenceMeter::Add(std::span<const float> reference, std::span<const float> other, int64_t vocab_size) {
  CHECK_EQ(reference.size(), other.size());
  const auto vocab = static_cast<size_t>(vocab_size);
  for (size_t begin = 0; begin < reference.size(); begin += vocab) {
    const auto p = reference.subspan(begin, vocab);
    const auto q = other.subspan(begin, vocab);
    double divergence = 0;
    for (size_t id = 0; id < vocab; ++id) {
      divergence += std::exp(static_cast<double>(p[id])) * (static_cast<double>(p[id]) - static_cast<double>(q[id]));
    }
    sum_ += divergence;
    worst_ = std::max(worst_, divergence);
    const auto top = [](std::span<const float> row) { return std::max_element(row.begin(), row.end()) - row.begin(); };
    num_agreeing_ += top(p) == top(q) ? 1 : 0;
    ++num_positions_;
  }
}

}  // namespace switchyard
