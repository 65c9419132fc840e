#include "engine/collective_timing.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <span>
#include <utility>

#include "absl/time/clock.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

constexpr int64_t kRowElements = 16;  // of rows in all_to_all
constexpr int kWarmUps = 2;
constexpr int kRepeats = 7;
constexpr int kSmallCalls = 8;  // queued at once

// One collective among `size` ranks on `n` elements, those of its larger tensor.
struct Collective {
  const char* name;
  std::function<absl::Status(int64_t n)> run;
  Tensor* result;
  // What the result holds: `count` elements, of which number i is expected(i).
  std::function<int64_t(int64_t n)> count;
  std::function<int(int64_t n, int64_t i)> expected;
};

// What rank `rank` sends: bits that look random. Sums of up to 256 of them are exact in bfloat16 and float16.
int Pattern(int64_t rank, int64_t i) {
  const uint64_t hash = (static_cast<uint64_t>(i) * 1024 + static_cast<uint64_t>(rank) + 1) * 0x9E3779B97F4A7C15u;
  return static_cast<int>(hash >> 63);
}

// Bits of a small whole number in a 16-bit floating-point type.
uint16_t EncodeHalf(DType dtype, int value) {
  const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  if (dtype == DType::kBFloat16) return static_cast<uint16_t>(bits >> 16);
  // float16 has 10 bits of fraction and a bias of 15, float32 23 and 127.
  return value == 0 ? uint16_t{0} : static_cast<uint16_t>((bits >> 13) - ((127 - 15) << 10));
}

class Timer {
 public:
  Timer(Backend& backend, Communicator& communicator, Tensor& a, Tensor& b)
      : backend_(backend), communicator_(communicator), a_(a), b_(b) {}

  // Median seconds of one call.
  absl::StatusOr<double> Time(const Collective& collective, int64_t n, int calls) {
    backend_.Clear(a_.view());
    std::vector<double> seconds;
    for (int i = 0; i < kWarmUps + kRepeats; ++i) {
      const int64_t begin = absl::GetCurrentTimeNanos();
      const absl::Status status = RunStep(collective, n, calls);
      if (!status.ok()) return status;
      if (i >= kWarmUps) seconds.push_back(static_cast<double>(absl::GetCurrentTimeNanos() - begin) * 1e-9 / calls);
    }
    std::nth_element(seconds.begin(), seconds.begin() + kRepeats / 2, seconds.end());
    return seconds[kRepeats / 2];
  }

  absl::StatusOr<bool> IsIntact(const Collective& collective, int64_t n) {
    const DType dtype = a_.view().dtype();
    std::vector<uint16_t> host(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) {
      host[static_cast<size_t>(i)] = EncodeHalf(dtype, Pattern(communicator_.rank(), i));
    }
    backend_.Clear(b_.view());
    absl::Status status = backend_.CopyFromHost(ConstTensorView(host.data(), dtype, Shape{n}), a_.Top(n));
    if (!status.ok()) return status;
    status = RunStep(collective, n, 1);
    if (!status.ok()) return status;
    const int64_t count = collective.count(n);
    status = backend_.CopyToHost(collective.result->Top(count), TensorView(host.data(), dtype, Shape{count}));
    if (!status.ok()) return status;
    for (int64_t i = 0; i < count; ++i) {
      if (host[static_cast<size_t>(i)] != EncodeHalf(dtype, collective.expected(n, i))) return false;
    }
    return true;
  }

 private:
  absl::Status RunStep(const Collective& collective, int64_t n, int calls) {
    communicator_.BeginStep();
    absl::Status status;
    for (int i = 0; i < calls && status.ok(); ++i) status = collective.run(n);
    status.Update(backend_.Synchronize());
    status.Update(communicator_.EndStep());
    return status;
  }

  Backend& backend_;
  Communicator& communicator_;
  Tensor& a_;
  Tensor& b_;
};

// `a` is sent, and `b` received into.
std::vector<Collective> CollectivesOf(Communicator& communicator, Tensor& a, Tensor& b) {
  const int64_t size = communicator.size();
  const int64_t rank = communicator.rank();
  const auto whole = [](int64_t n) { return n; };
  const auto block = [size](int64_t n) { return n / size; };
  const auto sum = [size](int64_t i) {
    int total = 0;
    for (int64_t r = 0; r < size; ++r) total += Pattern(r, i);
    return total;
  };
  return {
      {.name = "all_to_all",
       .run =
           [&communicator, &a, &b, size](int64_t n) {
             const int64_t rows = n / kRowElements;
             const std::vector<int64_t> counts(static_cast<size_t>(size), rows / size);
             return communicator.AllToAllRows(a.Top(n).Reshape({rows, kRowElements}), counts,
                                              b.Top(n).Reshape({rows, kRowElements}), counts);
           },
       .result = &b,
       .count = whole,
       .expected = [=](int64_t n, int64_t i) { return Pattern(i / block(n), rank * block(n) + i % block(n)); }},
      {.name = "all_gather",
       .run = [&communicator, &a, &b, block](int64_t n) { return communicator.AllGather(a.Top(block(n)), b.Top(n)); },
       .result = &b,
       .count = whole,
       .expected = [=](int64_t n, int64_t i) { return Pattern(i / block(n), i % block(n)); }},
      {.name = "reduce_scatter",
       .run = [&communicator, &a, &b,
               block](int64_t n) { return communicator.ReduceScatterSum(a.Top(n), b.Top(block(n))); },
       .result = &b,
       .count = block,
       .expected = [=](int64_t n, int64_t i) { return sum(rank * block(n) + i); }},
      {.name = "all_reduce",
       .run = [&communicator, &a](int64_t n) { return communicator.AllReduceSum(a.Top(n)); },
       .result = &a,
       .count = whole,
       .expected = [=](int64_t, int64_t i) { return sum(i); }}};
}

}  // namespace

CollectiveSizes RoundUpToRows(const CollectiveSizes& wanted, int num_ranks) {
  const int64_t unit = kRowElements * static_cast<int64_t>(sizeof(uint16_t)) * num_ranks;
  const auto round = [unit](int64_t bytes) { return (bytes + unit - 1) / unit * unit; };
  return {.small_bytes = round(wanted.small_bytes), .large_bytes = round(wanted.large_bytes)};
}

absl::StatusOr<std::vector<CollectiveTiming>> TimeCollectives(const CollectiveSizes& wanted, Backend& backend,
                                                              Communicator& communicator) {
  const DType dtype = backend.activation_dtype();
  CHECK(dtype == DType::kBFloat16 || dtype == DType::kFloat16);
  CHECK_LE(communicator.size(), 256);
  const CollectiveSizes sizes = RoundUpToRows(wanted, communicator.size());
  const int64_t small = sizes.small_bytes / static_cast<int64_t>(SizeOf(dtype));
  const int64_t large = sizes.large_bytes / static_cast<int64_t>(SizeOf(dtype));
  CHECK_LE(small, large);
  absl::StatusOr<Tensor> a = backend.AllocateTensor(dtype, {large});
  if (!a.ok()) return a.status();
  absl::StatusOr<Tensor> b = backend.AllocateTensor(dtype, {large});
  if (!b.ok()) return b.status();

  Timer timer(backend, communicator, *a, *b);
  std::vector<CollectiveTiming> timings;
  for (const Collective& collective : CollectivesOf(communicator, *a, *b)) {
    const absl::StatusOr<double> small_seconds = timer.Time(collective, small, kSmallCalls);
    if (!small_seconds.ok()) return small_seconds.status();
    const absl::StatusOr<double> large_seconds = timer.Time(collective, large, 1);
    if (!large_seconds.ok()) return large_seconds.status();
    const absl::StatusOr<bool> intact = timer.IsIntact(collective, large);
    if (!intact.ok()) return intact.status();
    timings.push_back(
        {.name = collective.name, .small_seconds = *small_seconds, .large_seconds = *large_seconds, .intact = *intact});
  }
  return timings;
}

}  // namespace switchyard
