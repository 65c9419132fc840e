#include "engine/memory_plan.h"

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/host_memory_info.h"
#include "engine/rank_model.h"
#include "kernels/check.h"
#include "kernels/cpu_planning_backend.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/planning_backend.h"

namespace switchyard {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// ESTIMATE. A recorded step has some 16 nodes per layer, each with its parameters and its place in the launch buffer.
constexpr int64_t kGraphBytes = kMiB;
constexpr int64_t kGraphBytesPerLayer = 64 << 10;
// ESTIMATE. NCCL's channels, each with buffers of 4 MiB per peer and protocol, its kernels, and its proxy's memory.
constexpr int64_t kNcclBytes = 256 * kMiB;
// ESTIMATE. Kernels are loaded when they first run, cuBLASLt's many too; and cudaMalloc gives out multiples of 2 MiB.
constexpr int64_t kKernelCodeBytes = 192 * kMiB;
// ESTIMATE. A context takes 300 to 500 MiB, more on cards with more multiprocessors. Free memory that was measured
// (kernels/device_info.h) was measured with one.
constexpr int64_t kContextBytes = 448 * kMiB;

// Says which rank is being planned, which is all that creation asks of a communicator.
class PlanningCommunicator final : public Communicator {
 public:
  PlanningCommunicator(int rank, int size, bool staged) : rank_(rank), size_(size), staged_(staged) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "planned"; }
  bool can_record() const override { return !staged_; }
  absl::Status Health() const override { return absl::OkStatus(); }
  absl::Status Barrier() override { return Refuse(); }
  absl::Status Broadcast(TensorView /*data*/, int /*root*/) override { return Refuse(); }
  absl::Status AllReduceSum(TensorView /*data*/) override { return Refuse(); }
  absl::Status ReduceScatterSum(ConstTensorView /*send*/, TensorView /*recv*/) override { return Refuse(); }
  absl::Status AllGatherGroup(std::span<const Transfer> /*transfers*/) override { return Refuse(); }
  absl::Status AllToAllRowsGroup(std::span<const Transfer> /*transfers*/, std::span<const int64_t> /*send_rows*/,
                                 std::span<const int64_t> /*recv_rows*/) override {
    return Refuse();
  }
  void Abort(const absl::Status& /*reason*/) override {}

 private:
  static absl::Status Refuse() { return absl::InternalError("memory plan: there is no peer to talk to"); }

  const int rank_;
  const int size_;
  const bool staged_;
};

using AlignedSize = size_t (*)(size_t bytes);

constexpr AlignedSize kHostAligned = CpuPlanningBackend::AlignedBytes;

// What is allocated for the rank's model on either planning backend; the rest of RankMemory stays 0.
template <typename Counter>
absl::StatusOr<RankMemory> CountModel(const EnginePlan& plan, const Checkpoint& checkpoint, int rank, Counter& backend,
                                      AlignedSize aligned) {
  PlanningCommunicator communicator(rank, plan.world_size, plan.config.staged_collectives);
  absl::StatusOr<RankModel> model = CreateRankModel(plan, checkpoint, backend, communicator);
  if (!model.ok()) return model.status();
  const auto taken = [aligned](size_t bytes) { return static_cast<int64_t>(aligned(bytes)); };
  const auto taken_by_tensor = [taken](const Tensor& tensor) { return taken(tensor.view().bytes()); };

  const ModelWeights& weights = model->decoder->weights();
  RankMemory memory;
  memory.experts = static_cast<int64_t>(backend.expert_bytes());
  memory.offloaded = static_cast<int64_t>(backend.offloaded_bytes());
  memory.embeddings = taken(weights.embedding->bytes());
  if (weights.lm_head != weights.embedding) memory.embeddings += taken(weights.lm_head->bytes());
  memory.other_weights = taken_by_tensor(weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    memory.attention += taken(layer.qkv->bytes()) + taken(layer.attention_output->bytes());
    memory.other_weights +=
        taken(layer.router->bytes()) + taken_by_tensor(layer.input_norm) + taken_by_tensor(layer.post_attention_norm);
  }
  memory.kv_cache = KvCacheBytes(plan, plan.kv_shape.num_pages);
  memory.scratch = static_cast<int64_t>(backend.scratch_bytes());
  // The rest, so that nothing is forgotten.
  memory.activations = static_cast<int64_t>(backend.bytes_allocated()) - memory.arena_bytes();
  CHECK_GE(memory.activations, 0);
  if (plan.records_steps()) {
    const auto num_steps = static_cast<int64_t>(model->decoder->RecordableSteps(plan.exchanges).size());
    memory.graphs = num_steps * (kGraphBytes + checkpoint.spec().num_layers * kGraphBytesPerLayer);
  }
  return memory;
}

}  // namespace

int64_t KvCacheBytes(const EnginePlan& plan, int64_t num_pages) {
  const KvCacheShape& shape = plan.kv_shape;
  const AlignedSize aligned = plan.config.device == DeviceKind::kCuda ? cuda::AlignedBytes : kHostAligned;
  const auto taken = [&](int64_t bytes_per_page) {
    return static_cast<int64_t>(aligned(static_cast<size_t>(num_pages * bytes_per_page)));
  };
  return 2 * shape.num_layers * (taken(shape.ElementBytesPerPage()) + taken(shape.ScaleBytesPerPage()));
}

absl::StatusOr<RankMemory> PlanRankMemory(const EnginePlan& plan, const Checkpoint& checkpoint, int rank) {
  const EngineConfig& config = plan.config;
  if (config.device == DeviceKind::kCpu) {
    CpuPlanningBackend backend(plan.cpu_backend_options(rank));
    return CountModel(plan, checkpoint, rank, backend, kHostAligned);
  }
  PlanningBackend backend(ActivationDType(config, checkpoint.spec()), plan.OffloadOf(rank));
  absl::StatusOr<RankMemory> memory = CountModel(plan, checkpoint, rank, backend, cuda::AlignedBytes);
  if (!memory.ok()) return memory.status();
  memory->nccl = plan.world_size > 1 && !config.staged_collectives ? kNcclBytes : 0;
  memory->driver = kKernelCodeBytes + (config.gpu_memory_bytes.empty() ? 0 : kContextBytes);
  memory->reserve = config.gpu_reserve_bytes;
  return memory;
}

absl::StatusOr<std::vector<int64_t>> FreeBytesOfRanks(const EngineConfig& config, std::span<const GpuInfo> gpus) {
  if (config.device == DeviceKind::kCpu) {
    const absl::StatusOr<int64_t> available = AvailableHostBytes();
    if (!available.ok()) return available.status();
    return std::vector<int64_t>(static_cast<size_t>(config.num_local_ranks), *available / config.num_local_ranks);
  }
  if (!config.gpu_memory_bytes.empty()) return config.gpu_memory_bytes;
  std::vector<int64_t> free_bytes;
  for (const int index : config.gpus) {
    const auto gpu =
        std::find_if(gpus.begin(), gpus.end(), [index](const GpuInfo& info) { return info.index == index; });
    if (gpu == gpus.end()) {
      return absl::NotFoundError(absl::StrCat("--gpus: there is no GPU ", index, "; this host shows ", gpus.size(),
                                              gpus.size() == 1 ? " GPU" : " GPUs", ", counted from 0"));
    }
    free_bytes.push_back(gpu->free_bytes / std::count(config.gpus.begin(), config.gpus.end(), index));
  }
  return free_bytes;
}

}  // namespace switchyard
