// Weights in the form that their Backend computes with.
//
// A weight is created first, at its full size, and filled afterwards, row block by row block, so that memory is
// known before a byte is read. What lies inside (row order, packing, quantised blocks) is the Backend's business.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/expert_cache.h"
#include "kernels/quantization/quantization.h"
#include "kernels/quantization/quantized_rows.h"
#include "kernels/tensor.h"

namespace switchyard {

struct MatrixSpec {
  int64_t out_features = 0;
  int64_t in_features = 0;
  DType dtype = DType::kBFloat16;  // of Fill's rows, where dense: kBFloat16, kFloat16 or kFloat32
  Quantization quantization = {};
};

// W [out_features, in_features] of y = x W^T.
// A dense matrix is filled by Fill; a quantised one by FillCodes and FillScales, in any order, and by FillColumnOrder
// where it is reordered. Either way by one of them only: the others are FAILED_PRECONDITION.
// Thread safety: Fill... from any number of threads for disjoint rows; after the last of them, any number of readers.
class Matrix {
 public:
  virtual ~Matrix() = default;

  virtual const MatrixSpec& spec() const = 0;
  // Bytes held on the device.
  virtual size_t bytes() const = 0;
  // Copies `rows` [n, in_features] (host memory, spec().dtype; free to be reused on return) to rows [row_begin,
  // row_begin + n). The device may hold them in another type.
  virtual absl::Status Fill(int64_t row_begin, ConstTensorView rows);
  // `codes` uint8 [n, quantization.CodeBytes(in_features)] (quantized_rows.h) of rows [row_begin, row_begin + n).
  virtual absl::Status FillCodes(int64_t row_begin, ConstTensorView codes);
  // Of rows [row_begin, row_begin + scales.num_rows).
  virtual absl::Status FillScales(int64_t row_begin, const GroupScales& scales);
  // order [in_features], a permutation; see Quantization::reordered.
  virtual absl::Status FillColumnOrder(std::span<const int32_t> order);
  // Fills the whole with normal random numbers of mean 0, for benchmarks without a checkpoint (--load-format dummy).
  virtual absl::Status FillRandom(uint64_t seed, float deviation) = 0;
};

struct ExpertWeightsSpec {
  int64_t num_experts = 0;  // on this rank
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  DType dtype = DType::kBFloat16;
  // Of all experts. They differ in `reordered` at most: what multiplies the rows, and what multiplies their products.
  Quantization gate_up = {};
  Quantization down = {};

  MatrixSpec gate_up_spec() const { return {2 * intermediate_size, hidden_size, dtype, gate_up}; }
  MatrixSpec down_spec() const { return {hidden_size, intermediate_size, dtype, down}; }
};

// The experts of one layer that live on one rank, in the order of the rank's slots (parallel/expert_placement.h).
class ExpertWeights {
 public:
  virtual ~ExpertWeights() = default;

  virtual const ExpertWeightsSpec& spec() const = 0;
  // w1 (gate) in rows [0, intermediate), w3 (up) in rows [intermediate, 2 * intermediate); [2 * intermediate, hidden].
  virtual Matrix& gate_up(int64_t local_expert) = 0;
  // w2 (down), [hidden, intermediate].
  virtual Matrix& down(int64_t local_expert) = 0;

  // Of those that lie elsewhere and are copied to the device when they are needed (ExpertOffload in backend.h). From
  // the rank's thread only.
  virtual bool is_offloaded() const { return false; }
  // Begins to copy those of `experts`, local ones, the likeliest first, that are not there, as far as there are places.
  virtual void Prefetch(std::span<const int> /*experts*/) {}
  // Since creation.
  virtual ExpertCacheStats offload_stats() const { return {}; }
};

}  // namespace switchyard
