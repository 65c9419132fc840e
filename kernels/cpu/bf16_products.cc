#include "kernels/cpu/bf16_products.h"

#include <algorithm>

namespace switchyard {

void Bf16Products::Run(std::span<const RowProduct> products, RowSource source, float* y) {
  if (products.empty()) return;
  const int64_t columns = products[0].weight->spec().in_features;
  const int64_t out_features = products[0].weight->spec().out_features;
  block_begin_.assign(1, 0);
  for (const RowProduct& product : products) {
    block_begin_.push_back(block_begin_.back() + Bf16Gemm::NumBlocks(product.rows));
  }
  uint16_t* rounded = rounded_.Get(Bf16Gemm::RoundedSize(block_begin_.back() * Bf16Gemm::kBlockRows, columns));
  const auto rows_of = [&](size_t i) {
    return rounded + Bf16Gemm::RoundedSize(block_begin_[i] * Bf16Gemm::kBlockRows, columns);
  };
  pool_.ParallelFor(block_begin_.back(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto owner = static_cast<size_t>(std::upper_bound(block_begin_.begin(), block_begin_.end(), block) -
                                             block_begin_.begin() - 1);
      const RowProduct& product = products[owner];
      Bf16Gemm::RoundBlock(
          product.rows, block - block_begin_[owner], columns,
          [&](int64_t row) { return source(product.first_row + row); }, rows_of(owner));
    }
  });
  gemms_.clear();
  for (size_t i = 0; i < products.size(); ++i) {
    gemms_.push_back({.x = rows_of(i),
                      .rows = products[i].rows,
                      .weight = &PackedMatrix::From(*products[i].weight),
                      .y = y + products[i].first_row * out_features});
  }
  gemm_->Multiply(gemms_);
}

}  // namespace switchyard
