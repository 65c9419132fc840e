// Quantised weights in the order in which the products read them: each product streams them once, front to back.
//
// Layout: blocks of 16 rows (output features), each
//   [scales: groups x 16, float16 for kInt4 and kInt8, float32 for kNf4]   up to a multiple of 64 bytes
//   [zeros:  groups x 16 uint8, where has_zeros]                           up to a multiple of 64 bytes
//   [codes:  slices of 64 bytes, 4 bytes for each of the 16 rows]
// A slice holds 8 columns of 4 bits, or 4 of 8 bits; byte b of a row's four is
//   4 bits: column 8 s + b in the low half, column 8 s + 4 + b in the high half        8 bits: column 4 s + b
// so that a lane of a vector is a row: products need no sums across lanes. Columns are padded to a multiple of 32, rows
// to 16; what is missing has a code of 0, and a scale of 0 where the row is missing. Products multiply missing columns
// by 0.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cpu/host_memory.h"
#include "kernels/cpu/random_weights.h"
#include "kernels/device.h"
#include "kernels/weights.h"

namespace switchyard {

// What QuantizedMatrix::Create(spec) holds in bytes. spec is quantised and valid.
size_t PackedQuantizedBytes(const MatrixSpec& spec);

// Every row owns the bytes of its codes, scales and zeros. Thread safety: as Matrix.
class QuantizedMatrix final : public Matrix {
 public:
  static constexpr int64_t kBlockRows = 16;
  static constexpr int64_t kSliceBytes = 64;
  static constexpr int64_t kColumnMultiple = 32;

  struct Block {
    const void* scales;
    const uint8_t* zeros;  // null where there are none
    const uint8_t* codes;

    const uint8_t* begin() const { return static_cast<const uint8_t*>(scales); }
  };

  static absl::StatusOr<std::unique_ptr<QuantizedMatrix>> Create(const MatrixSpec& spec,
                                                                 HostAllocator allocate = AllocateHostMemory);
  // What every quantised Matrix of the fast CPU backend is.
  static const QuantizedMatrix& From(const Matrix& matrix) { return static_cast<const QuantizedMatrix&>(matrix); }

  const MatrixSpec& spec() const override { return spec_; }
  size_t bytes() const override { return buffer_.bytes() + order_.bytes(); }
  absl::Status FillCodes(int64_t row_begin, ConstTensorView codes) override;
  // INVALID_ARGUMENT also where a scale of kInt4 or kInt8 is no float16.
  absl::Status FillScales(int64_t row_begin, const GroupScales& scales) override;
  absl::Status FillColumnOrder(std::span<const int32_t> order) override;
  absl::Status FillRandom(uint64_t seed, float deviation) override { return FillRandomRows(*this, seed, deviation); }

  int64_t num_blocks() const { return (spec_.out_features + kBlockRows - 1) / kBlockRows; }
  int64_t num_groups() const { return spec_.quantization.NumGroups(spec_.in_features); }
  Block block(int64_t i) const;
  size_t block_bytes() const { return static_cast<size_t>(layout_.block()); }  // from one block to the next
  // Quantization::reordered's order [in_features]; null where stored columns are the input features in order.
  const int32_t* column_order() const { return static_cast<const int32_t*>(order_.data()); }
  // One row as float32 in the order of the input features, out [in_features].
  void UnpackRow(int64_t row, float* out) const;

 private:
  // Bytes of one block.
  struct Layout {
    explicit Layout(const MatrixSpec& spec);
    int64_t block() const { return scales + zeros + codes; }

    int64_t scale;  // of one
    int64_t scales;
    int64_t zeros;
    int64_t codes;
  };
  friend size_t PackedQuantizedBytes(const MatrixSpec& spec);

  explicit QuantizedMatrix(const MatrixSpec& spec) : spec_(spec), layout_(spec) {}
  uint8_t* BlockData(int64_t i) const { return static_cast<uint8_t*>(buffer_.data()) + i * layout_.block(); }

  const MatrixSpec spec_;
  const Layout layout_;
  Buffer buffer_;
  Buffer order_;  // int32 [in_features], or empty
};

}  // namespace switchyard
