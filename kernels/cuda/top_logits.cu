// The num_top largest raw logits of each row, after the selection found where they end. Which of several equal logits
// are taken is decided by id, so chunks count first and collect then. Reference: LargestIds,
// kernels/cpu/token_filter.h. Bound: memory, 4 * vocab bytes read per row and pass.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling_row.cuh"

namespace switchyard::cuda {
namespace {

// Two counts, each below 2^32, as one number.
struct Counts {
  uint64_t packed = 0;

  __device__ void Add(uint32_t key, Cut cut) { packed += key > cut.key ? uint64_t{1} << 32 : key == cut.key ? 1 : 0; }
};
__device__ __forceinline__ uint32_t Above(uint64_t packed) { return static_cast<uint32_t>(packed >> 32); }
__device__ __forceinline__ uint32_t Equal(uint64_t packed) { return static_cast<uint32_t>(packed); }

__global__ void __launch_bounds__(kScanThreads) CountTop(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ float values[kChunkTokens];
  __shared__ uint64_t sums[kScanWarps];
  const BlockRow row = RowOfBlock(view);
  if (!row.Needs(kTopLogits)) return;
  const int chunk = static_cast<int>(blockIdx.x);
  const int size = LoadChunk(view, row, chunk, values);
  Counts counts;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kScanThreads) {
    counts.Add(LogitKey(values[i]), row.scratch.top_cut);
  }
  const uint64_t total = BlockTotal(counts.packed, sums);
  if (threadIdx.x == 0) {
    row.chunks[chunk].num_above = Above(total);
    row.chunks[chunk].num_equal = Equal(total);
  }
}

// RowScratch::top: first the tokens above the cut, then those at it, both in order of id.
__global__ void __launch_bounds__(kScanThreads) CollectTop(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ float values[kChunkTokens];
  __shared__ uint64_t sums[kScanWarps];
  const BlockRow row = RowOfBlock(view);
  if (!row.Needs(kTopLogits)) return;
  const int chunk = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  if (row.chunks[chunk].num_above == 0 && row.chunks[chunk].num_equal == 0) return;
  const Cut cut = row.scratch.top_cut;
  uint64_t earlier = 0;
  if (thread < chunk) earlier = uint64_t{row.chunks[thread].num_above} << 32 | row.chunks[thread].num_equal;
  const uint64_t before_chunk = BlockTotal(earlier, sums);

  const int size = LoadChunk(view, row, chunk, values);
  const int begin = min(thread * kTokensPerThread, size);
  const int end = min(begin + kTokensPerThread, size);
  Counts counts;
  for (int i = begin; i < end; ++i) counts.Add(LogitKey(values[i]), cut);
  const uint64_t before = before_chunk + BlockScan(counts.packed, sums).before;
  uint32_t above = Above(before);
  uint32_t equal = Equal(before);
  const uint32_t num_above = static_cast<uint32_t>(row.params.num_top) - cut.equals;
  for (int i = begin; i < end; ++i) {
    const uint32_t key = LogitKey(values[i]);
    if (key < cut.key) continue;
    if (key == cut.key && equal >= cut.equals) continue;
    const uint32_t place = key > cut.key ? above++ : num_above + equal++;
    row.scratch.top[place] = {chunk * kChunkTokens + i, values[i]};
  }
}

}  // namespace

void LaunchCollectTop(const SamplingView& view, int num_rows, Stream stream) {
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(view.num_chunks), static_cast<unsigned>(num_rows)),
                             .block = dim3(kScanThreads)};
  Launch(CountTop, shape, stream, view);
  Launch(CollectTop, shape, stream, view);
}

}  // namespace switchyard::cuda
