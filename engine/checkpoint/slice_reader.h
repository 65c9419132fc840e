// Carries out one rank's reads: large requests into one staging buffer, from there converted into the weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/load_plan.h"
#include "engine/checkpoint/random_access_file.h"
#include "kernels/weights.h"

namespace switchyard {

// One per Load; used from one thread. Borrows `files`, which must outlive it.
class SliceReader {
 public:
  // `bytes_total` is what the callback, which may be empty, reports as such.
  SliceReader(std::span<const std::unique_ptr<RandomAccessFile>> files, int64_t bytes_total,
              const LoadProgressCallback& progress);

  // Fills all rows of `matrix`, whose shape and dtype are those of `stacked`. Errors name the file and the tensor.
  absl::Status Fill(const StackedSlices& stacked, Matrix& matrix);
  // Reads a vector as float32; `out` has as many elements.
  absl::Status ReadVector(const TensorSlice& slice, std::span<float> out);

 private:
  using RowSink = std::function<absl::Status(int64_t first_row, ConstTensorView rows)>;

  // Hands the slice's kept columns on in blocks of whole rows of type `dtype`, rows counted from the slice's first.
  absl::Status ForEachBlock(const TensorSlice& slice, DType dtype, const RowSink& sink);
  // The kept columns of the `num_rows` rows that lie in staging_, as `dtype`; a view of staging_ itself where it can
  // be.
  ConstTensorView Convert(const TensorSlice& slice, int64_t num_rows, DType dtype);
  absl::Status Describe(const absl::Status& status, const TensorSlice& slice) const;

  const std::span<const std::unique_ptr<RandomAccessFile>> files_;
  const LoadProgressCallback& progress_;
  LoadProgress done_;
  std::vector<std::byte> staging_;    // rows as they lie in the file
  std::vector<std::byte> converted_;  // rows as the weight wants them
};

}  // namespace switchyard
