// Weights in the form that their Backend computes with.
//
// A weight is created first, at its full size, and filled afterwards, row block by row block, so that memory is
// known before a byte is read. What lies inside (row order, packing, quantised blocks) is the Backend's business.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace switchyard {

struct MatrixSpec {
  int64_t out_features = 0;
  int64_t in_features = 0;
  DType dtype = DType::kBFloat16;  // kBFloat16, kFloat16 or kFloat32
};

// W [out_features, in_features] of y = x W^T.
// Thread safety: Fill from any number of threads for disjoint rows; after the last Fill, any number of readers.
class Matrix {
 public:
  virtual ~Matrix() = default;

  virtual const MatrixSpec& spec() const = 0;
  // Bytes held on the device.
  virtual size_t bytes() const = 0;
  // Copies `rows` [n, in_features] (host memory, spec().dtype; free to be reused on return) to rows [row_begin,
  // row_begin + n). The device may hold them in another type.
  virtual absl::Status Fill(int64_t row_begin, ConstTensorView rows) = 0;
  // Fills the whole with normal random numbers of mean 0, for benchmarks without a checkpoint (--load-format dummy).
  virtual absl::Status FillRandom(uint64_t seed, float deviation) = 0;
};

struct ExpertWeightsSpec {
  int64_t num_experts = 0;  // on this rank
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  DType dtype = DType::kBFloat16;
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
};

}  // namespace switchyard
