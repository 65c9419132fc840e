// Drawing and scoring: the scan of all rows, the masses of those that draw, and the answers. A row whose most likely
// token is wanted is read once.
// Bound: memory, 4 * vocab bytes read per row by the scan, and again by each phase that the row takes part in.
#include <algorithm>
#include <cstring>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_row.cuh"

namespace switchyard::cuda {
namespace {

__device__ __forceinline__ uint64_t ChunkBest(const float* values, int first, int size, uint64_t* space) {
  uint64_t best = 0;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kScanThreads) {
    const uint64_t packed = PackedBest(values[i], first + i);
    best = packed > best ? packed : best;
  }
  return BlockMax(best, space);
}

__global__ void __launch_bounds__(kScanThreads) ScanChunks(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ float values[kChunkTokens];
  __shared__ uint64_t space[kScanWarps];
  __shared__ double sums[kScanWarps];
  const BlockRow row = RowOfBlock(view);
  const int thread = static_cast<int>(threadIdx.x);
  const int chunk = static_cast<int>(blockIdx.x);
  // The first selection's first histogram.
  if (row.Needs(kTopLogits | kTopK | kTopP)) {
    uint32_t* bins = row.scratch.histogram[0][0];
    for (int i = chunk * kScanThreads + thread; i < 2 * kDigitBins; i += view.num_chunks * kScanThreads) bins[i] = 0;
  }
  if (chunk == 0 && thread == 0) row.scratch.cut = {0, 0};  // keeps every token of some weight

  ChunkStats& stats = row.chunks[chunk];
  const int first = chunk * kChunkTokens;
  const int size = LoadChunk(view, row, chunk, values);
  uint64_t best = ChunkBest(values, first, size, space);
  if (row.Needs(kLogProbs)) {
    const float raw_max = BestLogit(best);
    float sum = 0;
    if (IsDistribution(best)) {
      for (int i = thread; i < size; i += kScanThreads) sum += expf(values[i] - raw_max);
    }
    const double total = BlockTotal(static_cast<double>(sum), sums);
    if (thread == 0) {
      stats.raw_max = raw_max;
      stats.raw_sum = total;
    }
  }
  if (row.Needs(kMasks | kAdjusts)) {
    ChangeChunk(view, row, chunk, values);
    best = ChunkBest(values, first, size, space);
  }
  if (thread == 0) stats.best = best;
}

// Per chunk: the mass above the cut, and the number of tokens at it.
__global__ void __launch_bounds__(kScanThreads) SumKept(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ float values[kChunkTokens];
  __shared__ uint64_t sums[kScanWarps];
  const BlockRow row = RowOfBlock(view);
  if (!row.Needs(kDraws)) return;
  const uint64_t best = RowBest(view, row, sums);
  if (!IsDistribution(best)) return;
  const int chunk = static_cast<int>(blockIdx.x);
  const int size = LoadAdjustedChunk(view, row, chunk, values);
  const Cut cut = KeptCut(row);
  uint64_t mass = 0;
  uint64_t num_equal = 0;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kScanThreads) {
    const float weight = TokenWeight(values[i], BestLogit(best), row.params.temperature);
    const uint32_t key = WeightKey(weight);
    if (key > cut.key) mass += Mass(weight);
    if (key == cut.key) ++num_equal;
  }
  mass = BlockTotal(mass, sums);
  num_equal = BlockTotal(num_equal, sums);
  if (threadIdx.x == 0) {
    row.chunks[chunk].mass_above = mass;
    row.chunks[chunk].num_equal = static_cast<uint32_t>(num_equal);
  }
}

struct DrawPlace {
  uint64_t target;  // mass to be passed within the chunk
  uint64_t equals;  // tokens at the cut that are kept, from the chunk on
  int chunk;
  int id;
};

// The first token, in order of id, at which the mass of the kept ones exceeds uniform * total.
__device__ int32_t DrawToken(const SamplingView& view, const BlockRow& row, float largest, float* values,
                             uint64_t* sums) {
  __shared__ DrawPlace place;
  const int thread = static_cast<int>(threadIdx.x);
  const Cut cut = KeptCut(row);
  const uint64_t cut_mass = Mass(WeightOfKey(cut.key));
  const auto kept_of = [](uint64_t equals_left, uint64_t num_equal) { return min(equals_left, num_equal); };
  const auto left_after = [](uint64_t equals, uint64_t taken) { return equals > taken ? equals - taken : 0; };
  {  // A thread per chunk.
    const bool is_chunk = thread < view.num_chunks;
    const uint64_t num_equal = is_chunk ? row.chunks[thread].num_equal : 0;
    const uint64_t left = left_after(cut.equals, BlockScan(num_equal, sums).before);
    const uint64_t mass = is_chunk ? row.chunks[thread].mass_above + kept_of(left, num_equal) * cut_mass : 0;
    const ScanResult scan = BlockScan(mass, sums);
    const double uniform = UniformDraw(row.params.seed, row.params.draw);
    // total is not 0, since the largest weight is 1; the product may round up to it.
    const uint64_t target = min(static_cast<uint64_t>(uniform * static_cast<double>(scan.total)), scan.total - 1);
    if (scan.before <= target && target < scan.before + mass) place = {target - scan.before, left, thread, -1};
    __syncthreads();
  }
  const int chunk = place.chunk;
  const int size = LoadAdjustedChunk(view, row, chunk, values);
  const int begin = min(thread * kTokensPerThread, size);
  const int end = min(begin + kTokensPerThread, size);
  const auto weight_of = [&](int i) { return TokenWeight(values[i], largest, row.params.temperature); };
  uint64_t num_equal = 0;
  uint64_t mass = 0;
  for (int i = begin; i < end; ++i) {
    const float weight = weight_of(i);
    const uint32_t key = WeightKey(weight);
    if (key > cut.key) mass += Mass(weight);
    if (key == cut.key) ++num_equal;
  }
  uint64_t left = left_after(place.equals, BlockScan(num_equal, sums).before);
  mass += kept_of(left, num_equal) * cut_mass;
  uint64_t before = BlockScan(mass, sums).before;
  if (before <= place.target && place.target < before + mass) {
    int i = begin;
    for (; i < end; ++i) {
      const float weight = weight_of(i);
      const uint32_t key = WeightKey(weight);
      if (key < cut.key || (key == cut.key && left == 0)) continue;
      if (key == cut.key) --left;
      before += Mass(weight);
      if (before > place.target) break;
    }
    place.id = chunk * kChunkTokens + i;
  }
  __syncthreads();
  return place.id;
}

// log(sum(exp(raw logits))) of a distribution.
__device__ double RowLogSumExp(const SamplingView& view, const BlockRow& row, double* sums, uint64_t* space) {
  const int thread = static_cast<int>(threadIdx.x);
  const bool is_chunk = thread < view.num_chunks;
  const uint64_t best = BlockMax(is_chunk ? PackedBest(row.chunks[thread].raw_max, 0) : 0, space);
  const double largest = BestLogit(best);
  const double part = is_chunk && row.chunks[thread].raw_sum > 0
                          ? row.chunks[thread].raw_sum * exp(row.chunks[thread].raw_max - largest)
                          : 0.0;
  return largest + log(BlockTotal(part, sums));
}

// Orders the top by counting, for each, those that come before it.
__device__ void WriteTop(const SamplingView& view, const BlockRow& row, double log_sum_exp, TokenLogProb* shared) {
  const int num_top = row.params.num_top;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < num_top; i += kScanThreads) shared[i] = row.scratch.top[i];
  __syncthreads();
  for (int i = thread; i < num_top; i += kScanThreads) {
    const TokenLogProb own = shared[i];
    int place = 0;
    for (int j = 0; j < num_top; ++j) {
      const TokenLogProb other = shared[j];
      place += other.logprob > own.logprob || (other.logprob == own.logprob && other.id < own.id) ? 1 : 0;
    }
    view.top[row.params.top_begin + place] = {own.id, static_cast<float>(own.logprob - log_sum_exp)};
  }
}

// One block per row.
__global__ void __launch_bounds__(kScanThreads) Finish(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ __align__(16) float values[kChunkTokens];
  __shared__ uint64_t space[kScanWarps];
  __shared__ double sums[kScanWarps];
  static_assert(kMaxTop * sizeof(TokenLogProb) <= sizeof(values));
  const BlockRow row = RowOfBlock(view);
  RowResult& result = view.results[view.first_row + static_cast<int>(blockIdx.y)];
  const uint64_t best = RowBest(view, row, space);
  if (!IsDistribution(best)) {
    if (threadIdx.x == 0) result = {-1, 0.0f};
    return;
  }
  const int32_t id = row.Needs(kDraws) ? DrawToken(view, row, BestLogit(best), values, space) : BestId(best);
  float logprob = 0;
  if (row.Needs(kLogProbs)) {
    const double log_sum_exp = RowLogSumExp(view, row, sums, space);
    const int32_t token = row.params.logprob_of == kChosenToken ? id : row.params.logprob_of;
    if (token >= 0) logprob = static_cast<float>(row.logits[token] - log_sum_exp);
    if (row.Needs(kTopLogits)) WriteTop(view, row, log_sum_exp, reinterpret_cast<TokenLogProb*>(values));
  }
  if (threadIdx.x == 0) result = {id, logprob};
}

SamplingView ViewOfGroup(const PackedSampling& packed, const SamplingArgs& args, int64_t first_row,
                         int64_t group_rows) {
  const auto rows = static_cast<size_t>(packed.num_rows());
  auto* scratch_rows = reinterpret_cast<RowScratch*>(args.scratch);
  return {.logits = args.logits + first_row * args.vocab_size,
          .params = args.params,
          .first_row = static_cast<int>(first_row),
          .vocab_size = static_cast<int>(args.vocab_size),
          .num_chunks = static_cast<int>(NumChunks(args.vocab_size)),
          .rows = scratch_rows,
          .chunks = reinterpret_cast<ChunkStats*>(scratch_rows + group_rows),
          .results = reinterpret_cast<RowResult*>(args.results),
          .top = reinterpret_cast<TokenLogProb*>(args.results + rows * sizeof(RowResult))};
}

uint32_t PhasesOf(const PackedSampling& packed, int64_t first_row, int64_t num_rows) {
  uint32_t phases = 0;
  for (int64_t i = first_row; i < first_row + num_rows; ++i) {
    RowParams params;
    std::memcpy(&params, packed.params().data() + static_cast<size_t>(i) * sizeof(params), sizeof(params));
    phases |= params.phases;
  }
  return phases;
}

void Run(const PackedSampling& packed, const SamplingArgs& args, Stream stream) {
  for (int64_t first_row = 0; first_row < packed.num_rows(); first_row += kRowGroup) {
    const int64_t num_rows = std::min(kRowGroup, packed.num_rows() - first_row);
    const uint32_t phases = PhasesOf(packed, first_row, num_rows);
    const SamplingView view = ViewOfGroup(packed, args, first_row, num_rows);
    const auto rows = static_cast<int>(num_rows);
    const LaunchShape per_chunk = {
        .grid = dim3(static_cast<unsigned>(view.num_chunks), static_cast<unsigned>(num_rows)),
        .block = dim3(kScanThreads)};
    const LaunchShape per_row = {.grid = dim3(1, static_cast<unsigned>(num_rows)), .block = dim3(kScanThreads)};
    Launch(ScanChunks, per_chunk, stream, view);
    if ((phases & kTopLogits) != 0) {
      LaunchSelection(Selection::kTopLogits, view, rows, stream);
      LaunchCollectTop(view, rows, stream);
    }
    if ((phases & kTopK) != 0) LaunchSelection(Selection::kTopK, view, rows, stream);
    if ((phases & kTopP) != 0) LaunchSelection(Selection::kTopP, view, rows, stream);
    if ((phases & kDraws) != 0) Launch(SumKept, per_chunk, stream, view);
    Launch(Finish, per_row, stream, view);
  }
}

}  // namespace

void Sample(const PackedSampling& packed, const SamplingArgs& args, Stream stream) { Run(packed, args, stream); }
void Score(const PackedSampling& packed, const SamplingArgs& args, Stream stream) { Run(packed, args, stream); }

}  // namespace switchyard::cuda
