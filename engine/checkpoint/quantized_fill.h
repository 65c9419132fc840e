// Fills weights from tensors that are quantised in their file or become so while they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/load_blocks.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {

// What the threads of one load share of weights that blocks do not fill independently. Thread-safe.
class QuantizedFill {
 public:
  // Of a block of a dense tensor: quantises `rows`, rows [block.row_begin, block.row_end) as they lie in the file, and
  // fills those that the weight keeps. Scales with scales of their own follow with the tensor's last block; until then
  // they take 4 bytes for 64 weights. INVALID_ARGUMENT if a row is not finite.
  absl::Status FillRows(const LoadBlock& block, const std::byte* rows);
  // Of a tensor as its file holds it: the part that the weight keeps, in its form or dequantised. FAILED_PRECONDITION
  // if the order of its columns is not that of the tensors it is stacked with.
  absl::Status FillTensor(const TensorLoad& load, const QuantizedTensor& tensor);

 private:
  // Of a double-quantised tensor, as its blocks come in.
  struct Pending {
    std::mutex mu;
    QuantizedTensor scales;  // without codes; guarded by mu
    int64_t rows_left = 0;   // guarded by mu
  };
  // Which columns a weight's first tensor has.
  struct ColumnOrder {
    const TensorLocation* tensor;
    std::vector<int32_t> order;
  };

  std::shared_ptr<Pending> PendingOf(const TensorLoad& load);
  absl::Status AddScales(const LoadBlock& block, const ScaleArrays& maxima);
  absl::Status FillOrder(const TensorLoad& load, std::span<const int32_t> order);

  std::mutex mu_;
  std::map<const TensorLoad*, std::shared_ptr<Pending>> pending_;  // guarded by mu_
  std::map<const Matrix*, ColumnOrder> orders_;                    // guarded by mu_
};

}  // namespace switchyard
