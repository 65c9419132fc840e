// Radix selection: the token at which a count (top-k) or a mass (top-p) is reached, in the order "larger key first,
// lowest id first among equals", without sorting. Reference: TokenFilter, kernels/cpu/token_filter.h.
//
// Each pass histograms one digit of the keys of those tokens that share the digits found so far; every block of the
// next pass finds the bin in which the wanted amount is reached. Sums are of integers, so atomics may come in any
// order. Bound: memory, 4 * vocab bytes read per pass and row, three passes.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling_row.cuh"

namespace switchyard::cuda {
namespace {

__device__ __forceinline__ int DigitShift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }

__device__ __forceinline__ uint32_t DigitOf(uint32_t key, int pass) {
  return key >> DigitShift(pass) & (pass == kDigits - 1 ? kDigitBins / 2 - 1 : kDigitBins - 1);
}

template <Selection kSelection>
__device__ __forceinline__ uint32_t KeyOf(float logit, float largest, float temperature) {
  if constexpr (kSelection == Selection::kTopLogits) return LogitKey(logit);
  return WeightKey(TokenWeight(logit, largest, temperature));
}

// What a bin holds: tokens, or their mass. `key` is any key that belongs to the bin.
template <Selection kSelection>
__device__ __forceinline__ uint64_t BinAmount(uint32_t low, uint32_t high, uint32_t key) {
  if constexpr (kSelection != Selection::kTopP) return low;
  return (low + (uint64_t{high} << kSignificandHalfBits)) << MassShift(key);
}

// The wanted amount of the first pass; later ones inherit what remains of it.
template <Selection kSelection>
__device__ __forceinline__ uint64_t WantedAmount(const RowParams& params, uint64_t total) {
  if constexpr (kSelection == Selection::kTopLogits) return static_cast<uint64_t>(params.num_top);
  if constexpr (kSelection == Selection::kTopK) return static_cast<uint64_t>(params.top_k);
  const auto share = static_cast<uint64_t>(ceil(static_cast<double>(params.top_p) * static_cast<double>(total)));
  return share < 1 ? 1 : share > total ? total : share;
}

struct SelectSpace {
  uint64_t sums[kScanWarps];
  SelectState state;
};

// The state after `pass`, from the state before it and its histogram; every thread gets it.
template <Selection kSelection>
__device__ __forceinline__ SelectState Advance(const BlockRow& row, int pass, SelectSpace& space) {
  constexpr int kBinsPerThread = kDigitBins / kScanThreads;
  const SelectState before = pass == 0 ? SelectState{0, 0, 0} : row.scratch.states[pass];
  const auto& histogram = row.scratch.histogram[pass];
  const int top_bin = kDigitBins - 1 - static_cast<int>(threadIdx.x) * kBinsPerThread;  // threads take bins downwards
  const auto key_of = [&](int bin) { return before.prefix | static_cast<uint32_t>(bin) << DigitShift(pass); };
  uint64_t amounts[kBinsPerThread];
  uint64_t own = 0;
#pragma unroll
  for (int k = 0; k < kBinsPerThread; ++k) {
    const int bin = top_bin - k;
    amounts[k] = BinAmount<kSelection>(histogram[0][bin], histogram[1][bin], key_of(bin));
    own += amounts[k];
  }
  const ScanResult scan = BlockScan(own, space.sums);
  const uint64_t wanted = pass == 0 ? WantedAmount<kSelection>(row.params, scan.total) : before.remaining;
  uint64_t above = scan.before;
#pragma unroll
  for (int k = 0; k < kBinsPerThread; ++k) {
    if (above < wanted && wanted <= above + amounts[k]) {  // one bin of one thread
      space.state = {wanted - above, key_of(top_bin - k), 0};
    }
    above += amounts[k];
  }
  __syncthreads();
  return space.state;
}

// Pass `pass` of a selection over one chunk. The histograms are a ring: a pass finds its own cleared, clears the next
// one, and reads the one before.
template <Selection kSelection>
__global__ void __launch_bounds__(kScanThreads) CountDigits(SamplingView view, int pass) {
  WaitForPrevious();
  LetNextStart();
  constexpr bool kIsMass = kSelection == Selection::kTopP;
  constexpr bool kIsRaw = kSelection == Selection::kTopLogits;
  constexpr uint32_t kHalf = (1u << kSignificandHalfBits) - 1;
  __shared__ float values[kChunkTokens];
  __shared__ uint32_t bins[2][kDigitBins];
  __shared__ SelectSpace space;
  const BlockRow row = RowOfBlock(view);
  if (!row.Needs(PhaseOf(kSelection))) return;
  const uint64_t best = kIsRaw ? 0 : RowBest(view, row, space.sums);
  if (!kIsRaw && !IsDistribution(best)) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int chunk = static_cast<int>(blockIdx.x);

  for (int bin = thread; bin < kDigitBins; bin += kScanThreads) bins[0][bin] = bins[1][bin] = 0;
  uint32_t* next = row.scratch.histogram[(pass + 1) % kDigits][0];
  for (int i = chunk * kScanThreads + thread; i < 2 * kDigitBins; i += view.num_chunks * kScanThreads) next[i] = 0;
  SelectState state{0, 0, 0};
  if (pass > 0) {
    state = Advance<kSelection>(row, pass - 1, space);
    if (chunk == 0 && thread == 0) row.scratch.states[pass] = state;
  }

  const int size = kIsRaw ? LoadChunk(view, row, chunk, values) : LoadAdjustedChunk(view, row, chunk, values);
  const Cut cut = kIsMass ? row.scratch.cut : Cut{0, 0};
  const auto shares_prefix = [&](uint32_t key) {
    return pass == 0 || key >> DigitShift(pass - 1) == state.prefix >> DigitShift(pass - 1);
  };
  const auto add = [&](uint32_t key, uint32_t times) {
    const uint32_t digit = DigitOf(key, pass);
    const uint32_t amount = kIsMass ? MassSignificand(key) : 1;
    if (kIsMass && amount == 0) return;  // most of the tokens, at low temperatures
    atomicAdd(&bins[0][digit], (amount & kHalf) * times);
    if (amount > kHalf) atomicAdd(&bins[1][digit], (amount >> kSignificandHalfBits) * times);
  };
  for (int i = thread; i < size; i += kScanThreads) {
    const uint32_t key = KeyOf<kSelection>(values[i], BestLogit(best), row.params.temperature);
    if (shares_prefix(key) && (!kIsMass || key > cut.key)) add(key, 1);
  }
  // The tokens at top-k's cut are alike, so it does not matter here which of them are kept.
  if (kIsMass && chunk == 0 && thread == 0 && cut.equals > 0 && shares_prefix(cut.key)) add(cut.key, cut.equals);
  __syncthreads();

  for (int half = 0; half < (kIsMass ? 2 : 1); ++half) {
    for (int bin = thread; bin < kDigitBins; bin += kScanThreads) {
      if (bins[half][bin] != 0) atomicAdd(&row.scratch.histogram[pass][half][bin], bins[half][bin]);
    }
  }
}

// The cut that three passes found; one block per row.
template <Selection kSelection>
__global__ void __launch_bounds__(kScanThreads) ResolveCut(SamplingView view) {
  WaitForPrevious();
  LetNextStart();
  __shared__ SelectSpace space;
  const BlockRow row = RowOfBlock(view);
  if (!row.Needs(PhaseOf(kSelection))) return;
  constexpr bool kIsRaw = kSelection == Selection::kTopLogits;
  if (!kIsRaw && !IsDistribution(RowBest(view, row, space.sums))) return;
  const SelectState state = Advance<kSelection>(row, kDigits - 1, space);
  if (threadIdx.x != 0) return;
  uint64_t equals = state.remaining;
  if constexpr (kSelection == Selection::kTopP) {
    const uint64_t mass = Mass(WeightOfKey(state.prefix));  // not 0: it reached what was wanted
    equals = (equals + mass - 1) / mass;
  }
  (kIsRaw ? row.scratch.top_cut : row.scratch.cut) = {state.prefix, static_cast<uint32_t>(equals)};
}

template <Selection kSelection>
void LaunchSelection(const SamplingView& view, int num_rows, Stream stream) {
  const auto rows = static_cast<unsigned>(num_rows);
  const LaunchShape chunks = {.grid = dim3(static_cast<unsigned>(view.num_chunks), rows), .block = dim3(kScanThreads)};
  for (int pass = 0; pass < kDigits; ++pass) Launch(CountDigits<kSelection>, chunks, stream, view, pass);
  Launch(ResolveCut<kSelection>, LaunchShape{.grid = dim3(1, rows), .block = dim3(kScanThreads)}, stream, view);
}

}  // namespace

void LaunchSelection(Selection selection, const SamplingView& view, int num_rows, Stream stream) {
  switch (selection) {
    case Selection::kTopLogits:
      return LaunchSelection<Selection::kTopLogits>(view, num_rows, stream);
    case Selection::kTopK:
      return LaunchSelection<Selection::kTopK>(view, num_rows, stream);
    case Selection::kTopP:
      return LaunchSelection<Selection::kTopP>(view, num_rows, stream);
  }
}

}  // namespace switchyard::cuda
