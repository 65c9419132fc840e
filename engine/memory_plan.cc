#include "engine/memory_plan.h"

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/rank_model.h"
#include "kernels/check.h"
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

int64_t Taken(size_t bytes) { return static_cast<int64_t>(cuda::AlignedBytes(bytes)); }
int64_t Taken(const Matrix& matrix) { return Taken(matrix.bytes()); }
int64_t Taken(const Tensor& tensor) { return Taken(tensor.view().bytes()); }

// One pair of tensors per layer.
int64_t KvCacheBytes(const KvCacheShape& shape) {
  const int64_t tensors = 2 * shape.num_layers;
  return tensors * Taken(static_cast<size_t>(shape.num_pages * shape.BytesPerPage() / tensors));
}

}  // namespace

absl::StatusOr<RankMemory> PlanRankMemory(const EnginePlan& plan, const Checkpoint& checkpoint, int rank) {
  CHECK(plan.config.device == DeviceKind::kCuda);
  const DecoderSpec& spec = checkpoint.spec();
  PlanningBackend backend(ActivationDType(plan.config, spec));
  PlanningCommunicator communicator(rank, plan.world_size, plan.config.staged_collectives);
  absl::StatusOr<RankModel> model = CreateRankModel(plan, checkpoint, backend, communicator);
  if (!model.ok()) return model.status();

  const ModelWeights& weights = model->decoder->weights();
  RankMemory memory;
  memory.experts = static_cast<int64_t>(backend.expert_bytes());
  memory.embeddings = Taken(*weights.embedding);
  if (weights.lm_head != weights.embedding) memory.embeddings += Taken(*weights.lm_head);
  memory.other_weights = Taken(weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    memory.attention += Taken(*layer.qkv) + Taken(*layer.attention_output);
    memory.other_weights += Taken(*layer.router) + Taken(layer.input_norm) + Taken(layer.post_attention_norm);
  }
  memory.kv_cache = KvCacheBytes(plan.kv_shape);
  memory.scratch = static_cast<int64_t>(backend.scratch_bytes());
  // The rest, so that nothing is forgotten.
  memory.activations = static_cast<int64_t>(backend.bytes_allocated()) - memory.arena_bytes();
  CHECK_GE(memory.activations, 0);

  if (plan.config.cuda_graphs) {
    const auto num_steps = static_cast<int64_t>(model->decoder->RecordableSteps(plan.exchanges).size());
    memory.graphs = num_steps * (kGraphBytes + spec.num_layers * kGraphBytesPerLayer);
  }
  memory.nccl = plan.world_size > 1 && !plan.config.staged_collectives ? kNcclBytes : 0;
  memory.driver = kKernelCodeBytes + (plan.config.gpu_memory_bytes.empty() ? 0 : kContextBytes);
  memory.reserve = plan.config.gpu_reserve_bytes;
  return memory;
}

absl::StatusOr<std::vector<int64_t>> FreeBytesOfRanks(const EngineConfig& config, std::span<const GpuInfo> gpus) {
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
