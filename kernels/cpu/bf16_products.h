// Products of Bf16Gemm as one kind of RowProducts.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/row_products.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

class Bf16Products final : public RowProductKind {
 public:
  // `pool` outlives this.
  Bf16Products(ThreadPool& pool, std::unique_ptr<Bf16Gemm> gemm) : pool_(pool), gemm_(std::move(gemm)) {}

  // Every product Suits Bf16Gemm.
  void Run(std::span<const RowProduct> products, RowSource source, float* y) override;

 private:
  ThreadPool& pool_;
  const std::unique_ptr<Bf16Gemm> gemm_;
  std::vector<int64_t> block_begin_;  // [products + 1], first block of each
  std::vector<Bf16Gemm::Product> gemms_;
  Scratch<uint16_t> rounded_;
};

}  // namespace switchyard
