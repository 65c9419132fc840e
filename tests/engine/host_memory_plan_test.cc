// Plans for CPU ranks, against what such ranks allocate.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/host_memory_info.h"
#include "engine/memory_fit.h"
#include "engine/rank_model.h"
#include "kernels/cpu/reference_backend.h"
#include "parallel/communicators/in_process.h"
#include "tests/engine/planned_gpus.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_SANITIZERS() GTEST_SKIP() << "a sanitizer's own memory would be counted"
#else
#define SKIP_UNDER_SANITIZERS() static_cast<void>(0)
#endif

namespace switchyard {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

EngineConfig OnCpu(int ranks) {
  EngineConfig config;
  config.num_local_ranks = ranks;
  config.num_threads = 1;
  config.kv_cache_bytes = 32 * kMiB;
  return config;
}

// Some 360 MB in bfloat16.
std::unique_ptr<Checkpoint> OpenLarger(const QuantizationChoices& quantize) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "larger" / "config.json";
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << R"({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_act": "silu",
    "hidden_size": 512, "intermediate_size": 1792, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "vocab_size": 8000, "tie_word_embeddings": false,
    "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, "sliding_window": null})";
  auto checkpoint = Checkpoint::OpenConfig(path.string(), quantize);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

// A CPU backend that adds up what is asked of it.
class TalliedBackend final : public ReferenceBackend {
 public:
  int64_t bytes() const { return bytes_; }

  absl::StatusOr<Buffer> Allocate(size_t bytes) override {
    Add64(bytes);
    return ReferenceBackend::Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(const MatrixSpec& spec) override {
    auto matrix = ReferenceBackend::CreateMatrix(spec);
    if (matrix.ok()) Add64((*matrix)->bytes());
    return matrix;
  }
  absl::StatusOr<std::unique_ptr<ExpertWeights>> CreateExperts(const ExpertWeightsSpec& spec) override {
    auto experts = ReferenceBackend::CreateExperts(spec);
    for (int64_t e = 0; experts.ok() && e < spec.num_experts; ++e) {
      Add64((*experts)->gate_up(e).bytes());
      Add64((*experts)->down(e).bytes());
    }
    return experts;
  }

 private:
  void Add64(size_t bytes) { bytes_ += static_cast<int64_t>((bytes + 63) / 64 * 64); }

  int64_t bytes_ = 0;
};

// Private memory that the process may write to (proc(5)), whether it has or not, less what its heap has to spare.
int64_t AllocatedByProcess() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmData:"))
      return std::atoll(line.c_str() + 7) * 1024 - static_cast<int64_t>(mallinfo2().fordblks);
  }
  ADD_FAILURE() << "/proc/self/status has no VmData";
  return 0;
}

struct LiveRank {
  std::unique_ptr<Backend> backend;
  std::vector<std::unique_ptr<Communicator>> communicators;
  RankModel model;
};

// Rank 0, its weights empty.
void Create(const EnginePlan& plan, const Checkpoint& checkpoint, LiveRank& rank) {
  rank.communicators = CreateInProcessCommunicators(plan.world_size, absl::Seconds(60));
  if (rank.backend == nullptr) rank.backend = CreateCpuBackend(plan.cpu_backend_options());
  auto model = CreateRankModel(plan, checkpoint, *rank.backend, *rank.communicators[0]);
  ASSERT_TRUE(model.ok()) << model.status();
  rank.model = *std::move(model);
}

TEST(HostMemoryPlan, CountsEveryAllocationOfTheModelToTheByte) {
  const auto checkpoint = OpenConfig("models/tiny-mixtral");
  for (const int ranks : {1, 2}) {
    for (const AttentionParallelism mode : kAttentionModes) {
      for (const std::optional<DType> kv_dtype : {std::optional<DType>(), std::optional(DType::kInt8)}) {
        EngineConfig config = OnCpu(ranks);
        config.attention = mode;
        config.kv_dtype = kv_dtype;
        config.reference_kernels = true;
        const EnginePlan plan = PlanFor(config, *checkpoint);
        LiveRank rank;
        auto tallied = std::make_unique<TalliedBackend>();
        const TalliedBackend& backend = *tallied;
        rank.backend = std::move(tallied);
        Create(plan, *checkpoint, rank);
        const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
        EXPECT_EQ(memory.arena_bytes(), backend.bytes());
        EXPECT_EQ(memory.total(), memory.arena_bytes());
        EXPECT_EQ(memory.scratch, 0);
      }
    }
  }
}

TEST(HostMemoryPlan, CountsWeightsInTheFormOfTheFastKernels) {
  for (const char* format : {"none", "nf4", "int4", "int4-g64-asym", "int8"}) {
    const auto checkpoint = OpenConfig("models/tiny-mixtral", Quantized(format));
    const EnginePlan plan = PlanFor(OnCpu(2), *checkpoint);
    LiveRank rank;
    Create(plan, *checkpoint, rank);
    ModelWeights& weights = rank.model.decoder->weights();
    int64_t experts = 0;
    int64_t attention = 0;
    for (LayerWeights& layer : weights.layers) {
      attention += static_cast<int64_t>(layer.qkv->bytes() + layer.attention_output->bytes());
      for (int64_t e = 0; e < 4; ++e) {
        experts += static_cast<int64_t>(layer.experts->gate_up(e).bytes() + layer.experts->down(e).bytes());
      }
    }
    const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
    EXPECT_EQ(memory.experts, experts) << format;
    EXPECT_EQ(memory.attention, attention) << format;
    EXPECT_EQ(memory.embeddings, static_cast<int64_t>(weights.embedding->bytes() + weights.lm_head->bytes()));
    EXPECT_EQ(memory.kv_cache, plan.config.kv_cache_bytes);
  }
}

TEST(HostMemoryPlan, EqualsWhatTheProcessAllocatesWithinOnePercent) {
  SKIP_UNDER_SANITIZERS();
  for (const char* format : {"none", "nf4", "int4", "int8"}) {
    const auto checkpoint = OpenLarger(Quantized(format));
    for (const std::optional<DType> kv_dtype :
         {std::optional<DType>(), std::optional(DType::kFloat8E4M3), std::optional(DType::kInt8)}) {
      for (const int ranks : {1, 2}) {
        SCOPED_TRACE(
            absl::StrCat(format, ", KV ", kv_dtype.has_value() ? Name(*kv_dtype) : "float32", ", ", ranks, " ranks"));
        EngineConfig config = OnCpu(ranks);
        config.kv_cache_bytes = 64 * kMiB;
        config.kv_dtype = kv_dtype;
        const EnginePlan plan = PlanFor(config, *checkpoint);
        const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
        const int64_t planned = memory.total() - memory.scratch;  // which nobody has used yet
        EXPECT_GT(planned, 100 * kMiB);
        LiveRank rank;
        const int64_t before = AllocatedByProcess();
        Create(plan, *checkpoint, rank);
        const int64_t allocated = AllocatedByProcess() - before;
        EXPECT_NEAR(static_cast<double>(allocated), static_cast<double>(planned), 0.01 * static_cast<double>(planned));
      }
    }
  }
}

TEST(HostMemoryPlan, BoundsTheScratchThatTheLargestStepGrows) {
  SKIP_UNDER_SANITIZERS();
  struct Case {
    const char* format;
    CpuActivations activations;
  };
  for (const Case& of : {Case{"none", CpuActivations::kFloat32}, Case{"none", CpuActivations::kBFloat16},
                         Case{"nf4", CpuActivations::kFloat32}, Case{"int4", CpuActivations::kInt8}}) {
    const auto checkpoint = OpenConfig("models/tiny-mixtral", Quantized(of.format));
    EngineConfig config = OnCpu(1);
    config.activations = of.activations;
    config.max_batch_tokens = 1024;
    config.kv_cache_bytes = 0;
    const EnginePlan plan = PlanFor(config, *checkpoint);
    LiveRank rank;
    Create(plan, *checkpoint, rank);
    const auto num_pages = static_cast<int32_t>(1024 / plan.config.page_size);
    Batch batch = {.sequences = {{.num_tokens = 1024, .num_pages = num_pages}}};
    for (int32_t i = 0; i < 1024; ++i) batch.tokens.push_back(i);
    for (int32_t i = 0; i < num_pages; ++i) batch.pages.push_back(i);
    const int64_t before = AllocatedByProcess();
    const auto output = rank.model.decoder->Step(batch);
    ASSERT_TRUE(output.ok()) << output.status();
    const int64_t grown = AllocatedByProcess() - before;
    const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
    EXPECT_LE(grown, memory.scratch) << of.format << " " << Name(of.activations);
    EXPECT_GE(grown, memory.scratch / 2) << of.format << " " << Name(of.activations) << ": a bound that says little";
  }
}

TEST(HostMemoryPlan, RefusesWhatTheHostLacksAndAdvisesWhatHelpsThere) {
  const auto checkpoint = OpenConfig("models/tiny-mixtral");
  const EnginePlan plan = PlanFor(OnCpu(2), *checkpoint);
  const int64_t need = MemoryOf(plan, *checkpoint, 0).total();
  EXPECT_TRUE(FitToMemory(plan, *checkpoint, std::vector<int64_t>(2, need)).ok());
  const absl::Status status = FitToMemory(plan, *checkpoint, std::vector<int64_t>(2, need - kMiB)).status();
  ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
  for (const char* part : {"rank 0: needs", "experts", "--kv-cache 31MiB", "--max-batch-tokens"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  }
  for (const char* part : {"GPU", "NCCL", "driver"}) {
    EXPECT_EQ(status.message().find(part), std::string::npos) << status;
  }
}

TEST(HostMemoryPlan, DividesWhatTheHostHasAmongItsRanks) {
  const auto available = AvailableHostBytes();
  ASSERT_TRUE(available.ok()) << available.status();
  EXPECT_GT(*available, 16 * kMiB);
  const auto free_bytes = FreeBytesOfRanks(OnCpu(4), {});
  ASSERT_TRUE(free_bytes.ok()) << free_bytes.status();
  ASSERT_EQ(free_bytes->size(), 4u);
  EXPECT_EQ(free_bytes->front(), free_bytes->back());
  EXPECT_NEAR(static_cast<double>(4 * free_bytes->front()), static_cast<double>(*available), 0.5 * *available);
}

}  // namespace
}  // namespace switchyard
