#include "kernels/cuda/round_rows.h"

#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/host_weights.h"

namespace switchyard::cuda {

std::vector<uint16_t> RoundRows(ConstTensorView rows, DType dtype) {
  const auto elements = static_cast<size_t>(rows.num_elements());
  std::vector<float> wide(elements);
  ConvertToFloat(rows.data(), rows.dtype(), rows.num_elements(), wide.data());
  std::vector<uint16_t> rounded(elements);
  for (size_t i = 0; i < elements; ++i) {
    rounded[i] = dtype == DType::kBFloat16 ? BFloat16FromFloat(wide[i]) : Float16FromFloat(wide[i]);
  }
  return rounded;
}

}  // namespace switchyard::cuda
