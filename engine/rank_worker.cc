#include "engine/rank_worker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/memory_plan.h"
#include "kernels/device_info.h"

namespace switchyard {
namespace {

constexpr int kGpuLoadThreads = 4;

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const EnginePlan& plan, const Checkpoint& checkpoint, int rank,
                                                     int local_rank) {
  const EngineConfig& config = plan.config;
  if (config.device == DeviceKind::kCpu) {
    return CreateCpuBackend(plan.cpu_backend_options());
  }
  const absl::StatusOr<RankMemory> memory = PlanRankMemory(plan, checkpoint, rank);
  if (!memory.ok()) return memory.status();
  return CreateCudaBackend({.device_index = config.gpus[static_cast<size_t>(local_rank)],
                            .activation_dtype = ActivationDType(config, checkpoint.spec()),
                            .arena_bytes = static_cast<size_t>(memory->arena_bytes())});
}

// Bytes of the largest message: a row of every token, to or from every rank.
size_t MaxMessageBytes(const EnginePlan& plan, const DecoderSpec& spec) {
  return static_cast<size_t>((plan.config.max_batch_tokens + plan.world_size) * spec.hidden_size) * sizeof(float);
}

absl::StatusOr<DeviceCommunicator> Connect(const EnginePlan& plan, const DecoderSpec& spec, int local_rank,
                                           Communicator& host, Backend& backend) {
  DeviceConnectOptions options = {.force_staged = plan.config.staged_collectives,
                                  .step_timeout = plan.config.collective_timeout,
                                  .max_message_bytes = MaxMessageBytes(plan, spec)};
  if (backend.device() == DeviceKind::kCuda) {
    const int index = plan.config.gpus[static_cast<size_t>(local_rank)];
    const absl::StatusOr<std::vector<GpuInfo>> gpus = ListGpus({&index, 1});
    if (!gpus.ok()) return gpus.status();
    options.device_id = gpus->front().uuid;
  }
  return ConnectDevice(options, host, backend);
}

LoadOptions LoadOptionsOf(const EnginePlan& plan) {
  if (plan.config.load_threads > 0) return {.num_threads = plan.config.load_threads};
  return {.num_threads = plan.config.device == DeviceKind::kCuda ? kGpuLoadThreads : plan.threads_per_rank};
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankWorker>> RankWorker::Create(const EnginePlan& plan, const Checkpoint& checkpoint,
                                                               Communicator& host, int local_rank,
                                                               const LoadProgressCallback& progress) {
  std::unique_ptr<RankWorker> worker(new RankWorker(plan, host));
  const auto create = [&]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(plan, checkpoint, host.rank(), local_rank);
    if (!backend.ok()) return backend.status();
    worker->backend_ = *std::move(backend);
    absl::StatusOr<DeviceCommunicator> data = Connect(plan, checkpoint.spec(), local_rank, host, *worker->backend_);
    if (!data.ok()) return data.status();
    worker->data_ = *std::move(data);
    absl::StatusOr<RankModel> model = CreateRankModel(plan, checkpoint, *worker->backend_, worker->data());
    if (!model.ok()) return model.status();
    worker->model_ = *std::move(model);
    return checkpoint.FillWeights(plan.ShardOf(host.rank()), *worker->backend_, worker->model_.decoder->weights(),
                                  LoadOptionsOf(plan), progress);
  };
  absl::Status status = create();
  if (!status.ok()) {
    // Others may be waiting for this rank to connect.
    host.Abort(absl::UnavailableError(absl::StrCat("rank ", host.rank(), ": ", status.message())));
    return status;
  }
  return worker;
}

std::string RankWorker::Description() const {
  std::string text = backend_->Description();
  if (data_.owned != nullptr) absl::StrAppend(&text, "; ", data().transport());
  if (!data_.staged_because.empty()) absl::StrAppend(&text, " (", data_.staged_because, ")");
  const int64_t recorded = model_.decoder->num_recorded_steps();
  if (recorded > 0) absl::StrAppend(&text, "; ", recorded, " recorded steps");
  return text;
}

void RankWorker::AbortAll(const absl::Status& status) {
  data().Abort(absl::UnavailableError(absl::StrCat("rank ", host_.rank(), ": ", status.message())));
}

absl::StatusOr<ExchangeCosts> RankWorker::WarmUp() {
  data().BeginStep();
  absl::StatusOr<ExchangeCosts> costs = MeasureExchangeCosts(*backend_, data());
  absl::Status status = costs.status();
  status.Update(data().EndStep());
  if (status.ok() && plan_.config.cuda_graphs) status = model_.decoder->RecordSteps(plan_.exchanges);
  if (status.ok()) return costs;
  AbortAll(status);
  return status;
}

absl::StatusOr<StepOutput> RankWorker::Step(const Batch& batch) {
  absl::StatusOr<StepOutput> output = StepOutput();
  if (batch.tokens.empty()) {
    // Nothing to compute: a sign of life, under the data plane's time limit.
    const absl::Status status = data().Barrier();
    if (!status.ok()) output = status;
  } else {
    output = model_.decoder->Step(batch);
  }
  if (!output.ok()) AbortAll(output.status());
  return output;
}

absl::Status RankWorker::Serve(StepLink& link) {
  while (true) {
    absl::StatusOr<std::shared_ptr<const Batch>> batch = link.Next();
    if (!batch.ok()) {
      data().Abort(batch.status());
      return batch.status();
    }
    if (*batch == nullptr) return absl::OkStatus();
    absl::StatusOr<StepOutput> output = Step(**batch);
    const absl::Status step_status = output.status();
    absl::Status status = link.Return(std::move(output));
    if (!step_status.ok()) return step_status;
    if (!status.ok()) return status;
  }
}

}  // namespace switchyard
