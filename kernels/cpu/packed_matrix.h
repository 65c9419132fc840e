// Weights in the order in which the GEMM kernel reads them, so that every product streams them once, front to back.
//
// Layout: [groups][chunks][4 rows][16 columns] of spec().dtype, where a group is 4 consecutive rows (output features)
// and a chunk 16 consecutive columns (input features). Missing rows and columns are zeros: no product has a remainder.
//
//   row 5, column 18 of a [8, 32] matrix: group 1, chunk 1, lane (1, 2): element ((1 * 2 + 1) * 4 + 1) * 16 + 2
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/random_weights.h"
#include "kernels/device.h"
#include "kernels/weights.h"

namespace switchyard {

// Thread safety: as Matrix.
class PackedMatrix final : public Matrix {
 public:
  static constexpr int64_t kGroupRows = 4;
  static constexpr int64_t kChunk = 16;
  static constexpr int64_t NumChunks(int64_t columns) { return (columns + kChunk - 1) / kChunk; }

  static absl::StatusOr<std::unique_ptr<PackedMatrix>> Create(const MatrixSpec& spec,
                                                              HostAllocator allocate = AllocateHostMemory);
  // What every dense Matrix of the fast CPU backend is.
  static const PackedMatrix& From(const Matrix& matrix) { return static_cast<const PackedMatrix&>(matrix); }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return buffer_.bytes(); }
  absl::Status Fill(int64_t row_begin, ConstTensorView rows) override;
  absl::Status FillRandom(uint64_t seed, float deviation) override { return FillRandomRows(*this, seed, deviation); }

  int64_t num_groups() const { return (spec_.out_features + kGroupRows - 1) / kGroupRows; }
  int64_t num_chunks() const { return NumChunks(spec_.in_features); }
  const void* data() const { return buffer_.data(); }
  // One row as float32, out [in_features].
  void UnpackRow(int64_t row, float* out) const;

 private:
  PackedMatrix(const MatrixSpec& spec, Buffer buffer) : spec_(spec), buffer_(std::move(buffer)) {}

  // Element index of column 0 of chunk 0 of `row`; the row's next chunk lies kGroupRows * kChunk elements behind.
  int64_t FirstElement(int64_t row) const {
    return (row / kGroupRows * num_chunks() * kGroupRows + row % kGroupRows) * kChunk;
  }

  const MatrixSpec spec_;
  const Buffer buffer_;
};

}  // namespace switchyard
