#include "kernels/cuda/offloaded_experts.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/quantized_weights.h"
#include "kernels/cuda/status.h"
#include "kernels/expert_rounds.h"

namespace switchyard::cuda {
namespace {

// Zeroed, as device memory is: what is padded stays so.
absl::StatusOr<Buffer> AllocatePinned(size_t bytes) {
  void* data = nullptr;
  absl::Status status = ToStatus(cudaMallocHost(&data, bytes), "cudaMallocHost");
  if (!status.ok()) {
    return absl::Status(
        status.code(),
        absl::StrCat("--offload-experts: cannot pin ", bytes, " bytes of host memory: ", status.message(),
                     "; keep more experts on the GPU, quantise them, or raise the limit of locked "
                     "memory (ulimit -l) or of the container"));
  }
  std::memset(data, 0, bytes);
  return Buffer(data, bytes, [](void* pinned) { (void)cudaFreeHost(pinned); });
}

// A matrix in memory that is the caller's.
std::unique_ptr<Matrix> MatrixAt(const MatrixSpec& spec, const WeightContext& context, std::byte* data) {
  if (spec.quantization.is_dense()) return std::make_unique<DeviceMatrix>(spec, context, data);
  QuantizedMatrix view = ViewQuantized(spec.quantization, spec.out_features, spec.in_features, 1, data);
  view.dynamic_map = nullptr;  // that of the places
  return std::make_unique<QuantizedDeviceMatrix>(spec, context, view);
}

std::byte* Offset(const Buffer& buffer, size_t bytes) { return static_cast<std::byte*>(buffer.data()) + bytes; }

}  // namespace

absl::StatusOr<std::unique_ptr<OffloadedDeviceExperts>> OffloadedDeviceExperts::Create(const ExpertWeightsSpec& spec,
                                                                                       const ExpertOffload& offload,
                                                                                       const WeightContext& context,
                                                                                       cudaStream_t copies,
                                                                                       Transfers& transfers) {
  CHECK(offload.applies_to(spec));
  std::unique_ptr<OffloadedDeviceExperts> experts(
      new OffloadedDeviceExperts(spec, static_cast<int>(offload.num_places), context, copies, transfers));
  absl::Status status = experts->Allocate(context);
  if (status.ok()) status = experts->CreateEvents();
  if (!status.ok()) return status;
  return experts;
}

OffloadedDeviceExperts::OffloadedDeviceExperts(const ExpertWeightsSpec& spec, int num_places,
                                               const WeightContext& context, cudaStream_t copies, Transfers& transfers)
    : spec_(spec),
      computing_(context.stream),
      copying_(copies),
      transfers_(transfers),
      placed_(static_cast<size_t>(num_places)),
      held_(static_cast<size_t>(spec.num_experts)),
      state_(new State(ExpertCache(static_cast<int>(spec.num_experts), num_places))),
      stalls_(new StallClock) {}

OffloadedDeviceExperts::~OffloadedDeviceExperts() {
  // Copies from the memory that is freed now.
  (void)cudaStreamSynchronize(copying_);
  for (cudaEvent_t event : state_->arrived) {
    if (event != nullptr) (void)cudaEventDestroy(event);
  }
  if (state_->computed != nullptr) (void)cudaEventDestroy(state_->computed);
}

absl::Status OffloadedDeviceExperts::Allocate(const WeightContext& context) {
  ExpertWeightsSpec places = spec_;
  places.num_experts = static_cast<int64_t>(placed_.size());
  const ExpertLayout layout = MakeExpertLayout(spec_, context.stored);
  gate_up_bytes_ = layout.gate_up_expert_bytes;
  down_bytes_ = layout.down_expert_bytes;
  Parts first;
  if (spec_.gate_up.is_dense() && spec_.down.is_dense()) {
    absl::StatusOr<std::unique_ptr<DeviceExpertWeights>> dense = DeviceExpertWeights::Create(places, context);
    if (!dense.ok()) return dense.status();
    first = {.gate_up = static_cast<std::byte*>(const_cast<void*>((*dense)->gate_up_data())),
             .down = static_cast<std::byte*>(const_cast<void*>((*dense)->down_data()))};
    places_ = *std::move(dense);
  } else {
    absl::StatusOr<std::unique_ptr<QuantizedDeviceExperts>> quantized = QuantizedDeviceExperts::Create(places, context);
    if (!quantized.ok()) return quantized.status();
    // A matrix begins with its codes.
    first = {.gate_up = reinterpret_cast<std::byte*>(const_cast<uint8_t*>((*quantized)->gate_up_view().codes)),
             .down = reinterpret_cast<std::byte*>(const_cast<uint8_t*>((*quantized)->down_view().codes))};
    places_ = *std::move(quantized);
  }
  for (size_t place = 0; place < placed_.size(); ++place) {
    placed_[place] = {.gate_up = first.gate_up + place * gate_up_bytes_, .down = first.down + place * down_bytes_};
  }
  absl::StatusOr<Buffer> list = context.arena.Allocate(held_.size() * sizeof(int32_t));
  if (!list.ok()) return list.status();
  expert_place_ = *std::move(list);

  absl::StatusOr<Buffer> gate_up = AllocatePinned(held_.size() * gate_up_bytes_);
  if (!gate_up.ok()) return gate_up.status();
  gate_up_host_ = *std::move(gate_up);
  absl::StatusOr<Buffer> down = AllocatePinned(held_.size() * down_bytes_);
  if (!down.ok()) return down.status();
  down_host_ = *std::move(down);
  WeightContext pinned = context;
  pinned.is_pinned = true;
  for (size_t e = 0; e < held_.size(); ++e) {
    held_[e] = {.gate_up = Offset(gate_up_host_, e * gate_up_bytes_), .down = Offset(down_host_, e * down_bytes_)};
    gate_up_.push_back(MatrixAt(spec_.gate_up_spec(), pinned, held_[e].gate_up));
    down_.push_back(MatrixAt(spec_.down_spec(), pinned, held_[e].down));
  }
  return absl::OkStatus();
}

absl::Status OffloadedDeviceExperts::CreateEvents() {
  const auto create = [](cudaEvent_t& event) {
    return ToStatus(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  };
  absl::Status status = create(state_->computed);
  for (cudaEvent_t& event : state_->arrived) status.Update(create(event));
  return status;
}

std::vector<int> OffloadedDeviceExperts::Needed(const int32_t* offsets) const {
  std::vector<int32_t> begin(held_.size() + 1);
  Note(transfers_.Download(offsets, begin.size() * sizeof(int32_t), begin.data()));
  std::vector<int> needed;
  for (size_t e = 0; e < held_.size(); ++e) {
    if (begin[e + 1] > begin[e]) needed.push_back(static_cast<int>(e));
  }
  return needed;
}

void OffloadedDeviceExperts::Load(std::span<const ExpertCache::Load> loads) const {
  if (loads.empty()) return;
  // An event that was never recorded counts as passed.
  Note(ToStatus(cudaStreamWaitEvent(copying_, state_->computed, 0), "cudaStreamWaitEvent"));
  for (const ExpertCache::Load& load : loads) {
    const auto place = static_cast<size_t>(load.place);
    const Parts& from = held_[static_cast<size_t>(load.expert)];
    const Parts& to = placed_[place];
    Note(ToStatus(cudaMemcpyAsync(to.gate_up, from.gate_up, gate_up_bytes_, cudaMemcpyHostToDevice, copying_),
                  "copy of an expert"));
    Note(ToStatus(cudaMemcpyAsync(to.down, from.down, down_bytes_, cudaMemcpyHostToDevice, copying_),
                  "copy of an expert"));
    Note(ToStatus(cudaEventRecord(state_->arrived[place], copying_), "cudaEventRecord"));
    state_->is_coming[place] = true;
    state_->bytes_copied += gate_up_bytes_ + down_bytes_;
  }
}

void OffloadedDeviceExperts::Prefetch(std::span<const int> experts) { Load(state_->cache.Prefetch(experts)); }

ExpertCacheStats OffloadedDeviceExperts::offload_stats() const {
  ExpertCacheStats stats = state_->cache.stats();
  stats.bytes_copied = state_->bytes_copied;
  stats.stall_seconds = stalls_->seconds();
  return stats;
}

void OffloadedDeviceExperts::Multiply(std::span<const int> experts,
                                      const std::function<void(const int32_t*)>& multiply) const {
  std::vector<int> there;
  std::vector<int> coming;
  for (const int expert : experts) {
    const bool is_coming = state_->is_coming[static_cast<size_t>(state_->cache.PlaceOf(expert))];
    (is_coming ? coming : there).push_back(expert);
  }
  MultiplyTogether(there, /*are_coming=*/false, multiply);
  MultiplyTogether(coming, /*are_coming=*/true, multiply);
}

void OffloadedDeviceExperts::MultiplyTogether(std::span<const int> experts, bool are_coming,
                                              const std::function<void(const int32_t*)>& multiply) const {
  if (experts.empty()) return;
  std::vector<int32_t> list(held_.size(), -1);
  std::vector<cudaEvent_t> arrived;
  for (const int expert : experts) {
    const int place = state_->cache.PlaceOf(expert);
    list[static_cast<size_t>(expert)] = place;
    arrived.push_back(state_->arrived[static_cast<size_t>(place)]);
    state_->is_coming[static_cast<size_t>(place)] = false;
  }
  Note(transfers_.Upload(list.data(), list.size() * sizeof(int32_t), expert_place_.data()));
  if (are_coming) Note(stalls_->Wait(computing_, arrived));
  multiply(static_cast<const int32_t*>(expert_place_.data()));
  Note(ToStatus(cudaEventRecord(state_->computed, computing_), "cudaEventRecord"));
}

absl::Status OffloadedDeviceExperts::TakeTurns(const int32_t* offsets, const ExpertForecast& next,
                                               const std::function<void(const int32_t*)>& multiply) const {
  const std::vector<int> needed = Needed(offsets);
  (void)stalls_->seconds();  // the waits of earlier steps are over: their events are free again
  for (size_t place = 0; place < placed_.size(); ++place) {
    if (state_->is_coming[place] && HasPassed(state_->arrived[place])) state_->is_coming[place] = false;
  }
  RunInRounds(state_->cache, needed,
              {.load = [this](std::span<const ExpertCache::Load> loads) { Load(loads); },
               .all_loading =
                   [&next] {
                     if (next.experts != nullptr) next.experts->Prefetch(next.likely);
                   },
               .compute = [&](std::span<const int> experts) { Multiply(experts, multiply); }});
  return std::exchange(state_->failure, absl::OkStatus());
}

}  // namespace switchyard::cuda
