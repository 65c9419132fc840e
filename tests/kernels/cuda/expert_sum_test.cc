#include "kernels/cuda/expert_sum.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"

namespace switchyard::cuda {
namespace {

class ExpertSumTest : public HalfTest {};
INSTANTIATE_TEST_SUITE_P(Types, ExpertSumTest, HalfTypes(), HalfTypeName);

// Numbers of experts around those whose rows are under way together; rows that end within a block, at its end and
// behind it. Every third pair has no entry; what lies in the first one, which nobody has, must not be read.
TEST_P(ExpertSumTest, AddsInOrderWhatIsThere) {
  for (const int64_t top_k : {1, 2, 3, 4, 5, 8, 10}) {
    for (const int64_t hidden : {8, 2040, 2048, 2056}) {
      SCOPED_TRACE(testing::Message() << top_k << " experts, hidden " << hidden);
      const int64_t rows = 4;
      const int64_t pairs = rows * top_k;
      std::vector<int32_t> place(pairs);
      std::iota(place.begin(), place.end(), 1);
      std::shuffle(place.begin(), place.end(), random_);
      for (int64_t p = 0; p < pairs; p += 3) place[p] = -1;
      std::vector<uint16_t> y = RandomHalves(GetParam(), (pairs + 1) * hidden, random_);
      std::fill_n(y.begin(), hidden, HalfFromFloat(GetParam(), NAN));
      const DeviceVector<int32_t> device_place(place);
      const DeviceVector<uint16_t> device_y(y);
      const DeviceVector<uint16_t> out(static_cast<size_t>(rows * hidden));
      SumExperts({.dtype = GetParam(),
                  .num_rows = rows,
                  .top_k = top_k,
                  .hidden_size = hidden,
                  .place = device_place.data(),
                  .y = device_y.data(),
                  .out = out.data()},
                 TestStream());
      const std::vector<uint16_t> actual = out.ToHost();
      for (int64_t i = 0; i < rows * hidden; ++i) {
        float sum = 0;
        for (int64_t k = 0; k < top_k; ++k) {
          const int32_t entry = place[i / hidden * top_k + k];
          if (entry >= 0) sum += FloatFromHalf(GetParam(), y[entry * hidden + i % hidden]);
        }
        ASSERT_EQ(actual[i], HalfFromFloat(GetParam(), sum)) << "element " << i;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::cuda
