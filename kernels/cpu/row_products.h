// y = x W^T for the rows of a step, each row with the weight of its expert; a dense layer is one product.
//
// The kinds of product differ in what x is rounded to and in the form of the weight; each lays the rows out for its
// kernel and divides the work over a pool's threads. A row's result depends on nothing but the row and its weight: not
// on other rows, the number of threads, or the division of work; kBf16 alone depends on how many rows there are.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/weights.h"

namespace switchyard {

struct RowProduct {
  const Matrix* weight = nullptr;  // of packed_weights.h
  int64_t first_row = 0;           // of the step's rows
  int64_t rows = 0;                // > 0
};

// Row `row` of the step, float [in_features]. Called once for every row, from any thread: it may compute the row.
using RowSource = absl::FunctionRef<const float*(int64_t row)>;

// One kind of product. Keeps its scratch from call to call; one caller at a time.
class RowProductKind {
 public:
  virtual ~RowProductKind() = default;

  // Writes rows [first_row, first_row + rows) of y [step's rows, out_features], for each product. All weights have the
  // same shape.
  virtual void Run(std::span<const RowProduct> products, RowSource source, float* y) = 0;
};

struct RowProductOptions {
  bool bf16_activations = false;  // as CpuBackendOptions
  bool int8_activations = false;
};

// Gives each product to the kind that suits it. One caller at a time.
class RowProducts {
 public:
  // `pool` outlives this.
  RowProducts(ThreadPool& pool, const RowProductOptions& options);
  ~RowProducts();

  // For Description: ", bfloat16 activations" and the like; empty where all products are float32.
  const std::string& note() const { return note_; }

  // As RowProductKind::Run; the weights may be of several forms.
  void Run(std::span<const RowProduct> products, RowSource source, float* y);
  // With activations in float32, whatever the options say.
  void RunFloat32(std::span<const RowProduct> products, RowSource source, float* y);

 private:
  enum Kind : uint8_t { kFloat32, kBf16, kQuantizedFloat32, kQuantizedInt8, kNumKinds };

  Kind KindOf(const RowProduct& product, bool float32_only) const;
  void RunKinds(std::span<const RowProduct> products, bool float32_only, RowSource source, float* y);

  std::string note_;
  std::array<std::unique_ptr<RowProductKind>, kNumKinds> kinds_;  // null: not to be had, or not wanted
  std::array<std::vector<RowProduct>, kNumKinds> products_;       // of one call
};

}  // namespace switchyard
