#include "kernels/cpu/offloaded_experts.h"

#include <sys/mman.h>

#include <chrono>
#include <utility>

#include "kernels/check.h"
#include "kernels/cpu/mapped_file.h"
#include "kernels/expert_rounds.h"

namespace switchyard {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPageBytes = 4096;

constexpr size_t RoundUp(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

absl::StatusOr<size_t> OffloadedExpertBytes(const ExpertWeightsSpec& spec, MatrixFactory create) {
  size_t bytes = 0;
  for (const MatrixSpec& matrix : {spec.gate_up_spec(), spec.down_spec()}) {
    // Matrices are made for a moment: that takes address space, and memory only where they are small.
    const auto measured = create(matrix, [&bytes](size_t part) {
      bytes += RoundUp(part, kAlignment);
      return AllocateHostMemory(part);
    });
    if (!measured.ok()) return measured.status();
  }
  return RoundUp(bytes, kPageBytes);
}

absl::Status OffloadedExperts::CreateBlocks(const ExpertWeightsSpec& spec, MatrixFactory create, const Buffer& memory,
                                            size_t block_bytes, std::vector<Block>& blocks) {
  auto* data = static_cast<std::byte*>(memory.data());
  for (size_t begin = 0; begin < memory.bytes(); begin += block_bytes) {
    size_t used = begin;
    const auto allocate = [&](size_t bytes) -> absl::StatusOr<Buffer> {
      Buffer part(data + used, bytes, [](void*) {});
      used += RoundUp(bytes, kAlignment);
      return part;
    };
    absl::StatusOr<std::unique_ptr<Matrix>> gate_up = create(spec.gate_up_spec(), allocate);
    if (!gate_up.ok()) return gate_up.status();
    absl::StatusOr<std::unique_ptr<Matrix>> down = create(spec.down_spec(), allocate);
    if (!down.ok()) return down.status();
    CHECK_LE(used, begin + block_bytes);
    blocks.push_back({.data = data + begin, .gate_up = *std::move(gate_up), .down = *std::move(down)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OffloadedExperts>> OffloadedExperts::Create(const ExpertWeightsSpec& spec,
                                                                           const ExpertOffload& offload,
                                                                           MatrixFactory create, ExpertCopier& copier) {
  CHECK(offload.applies_to(spec));
  const absl::StatusOr<size_t> block_bytes = OffloadedExpertBytes(spec, create);
  if (!block_bytes.ok()) return block_bytes.status();
  const auto num_places = static_cast<int>(offload.num_places);
  std::unique_ptr<OffloadedExperts> experts(new OffloadedExperts(spec, num_places, copier));
  absl::StatusOr<Buffer> file =
      CreateMappedFile(offload.directory, static_cast<size_t>(spec.num_experts) * *block_bytes);
  if (!file.ok()) return file.status();
  experts->file_ = *std::move(file);
  absl::StatusOr<Buffer> memory = AllocateHostMemory(static_cast<size_t>(num_places) * *block_bytes);
  if (!memory.ok()) return memory.status();
  experts->memory_ = *std::move(memory);
  absl::Status status = CreateBlocks(spec, create, experts->file_, *block_bytes, experts->filed_);
  if (status.ok()) status = CreateBlocks(spec, create, experts->memory_, *block_bytes, experts->placed_);
  if (!status.ok()) return status;
  for (size_t place = 0; place < experts->placed_.size(); ++place) {
    experts->places_->copies[place].to = const_cast<std::byte*>(experts->placed_[place].data);
    experts->places_->copies[place].bytes = *block_bytes;
  }
  return experts;
}

OffloadedExperts::OffloadedExperts(const ExpertWeightsSpec& spec, int num_places, ExpertCopier& copier)
    : spec_(spec),
      copier_(copier),
      places_(new Places{.cache = ExpertCache(static_cast<int>(spec.num_experts), num_places),
                         .copies = std::vector<ExpertCopy>(static_cast<size_t>(num_places)),
                         .copied = {}}) {}

OffloadedExperts::~OffloadedExperts() {
  for (ExpertCopy& copy : places_->copies) copier_.Drop(copy);
}

const OffloadedExperts::Block& OffloadedExperts::PlacedAt(int64_t local_expert) const {
  const int place = places_->cache.PlaceOf(static_cast<int>(local_expert));
  CHECK_GE(place, 0);
  return placed_[static_cast<size_t>(place)];
}

ExpertCopy& OffloadedExperts::CopyOf(int expert) const {
  return places_->copies[static_cast<size_t>(places_->cache.PlaceOf(expert))];
}

void OffloadedExperts::Load(std::span<const ExpertCache::Load> loads, bool is_urgent) const {
  for (const ExpertCache::Load& load : loads) {
    ExpertCopy& copy = places_->copies[static_cast<size_t>(load.place)];
    // What was prefetched there, and has not come yet, is not wanted any more.
    const auto begin = std::chrono::steady_clock::now();
    if (copier_.Drop(copy)) places_->copied.bytes_copied -= copy.bytes;
    places_->copied.stall_seconds += SecondsSince(begin);
    copy.from = filed_[static_cast<size_t>(load.expert)].data;
    // The disk may begin at once, whoever copies then.
    madvise(const_cast<void*>(copy.from), copy.bytes, MADV_WILLNEED);
    copier_.Begin(copy, is_urgent);
    places_->copied.bytes_copied += copy.bytes;
  }
}

void OffloadedExperts::Prefetch(std::span<const int> experts) {
  Load(places_->cache.Prefetch(experts), /*is_urgent=*/false);
}

ExpertCacheStats OffloadedExperts::offload_stats() const {
  ExpertCacheStats stats = places_->cache.stats();
  stats += places_->copied;
  return stats;
}

void OffloadedExperts::ComputeAsTheyCome(std::span<const int> experts,
                                         absl::FunctionRef<void(std::span<const int>)> compute) const {
  std::vector<int> there;
  std::vector<int> coming;
  for (const int expert : experts) (copier_.IsDone(CopyOf(expert)) ? there : coming).push_back(expert);
  if (!there.empty()) compute(there);
  for (const int& expert : coming) {
    const auto begin = std::chrono::steady_clock::now();
    copier_.Await(CopyOf(expert));
    places_->copied.stall_seconds += SecondsSince(begin);
    compute({&expert, 1});
  }
}

void OffloadedExperts::ForEachPart(std::span<const int> needed, const ExpertForecast& next,
                                   absl::FunctionRef<void(std::span<const int>)> compute) const {
  RunInRounds(places_->cache, needed,
              {.load = [this](std::span<const ExpertCache::Load> loads) { Load(loads, /*is_urgent=*/true); },
               .all_loading =
                   [&next] {
                     if (next.experts != nullptr) next.experts->Prefetch(next.likely);
                   },
               .compute = [&](std::span<const int> experts) { ComputeAsTheyCome(experts, compute); }});
}

}  // namespace switchyard
