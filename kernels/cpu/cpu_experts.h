// A layer's experts as the operations of the CPU backends see them, wherever they lie.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "kernels/backend.h"
#include "kernels/weights.h"

namespace switchyard {

class CpuExperts : public ExpertWeights {
 public:
  // What every ExpertWeights of a CPU backend is.
  static const CpuExperts& From(const ExpertWeights& experts) { return static_cast<const CpuExperts&>(experts); }

  using ExpertWeights::down;
  using ExpertWeights::gate_up;
  // To be multiplied with; of offloaded experts within the call that says they are there.
  virtual const Matrix& gate_up(int64_t local_expert) const = 0;
  virtual const Matrix& down(int64_t local_expert) const = 0;

  // Calls `compute` with parts of `needed`, distinct local experts, so that each is in one of them. Those parts are
  // there during the call. `next` is prefetched on the way (ExpertArgs::next). From the rank's thread only: where
  // experts lie is not what they are, so that this is const.
  virtual void ForEachPart(std::span<const int> needed, const ExpertForecast& next,
                           absl::FunctionRef<void(std::span<const int>)> compute) const {
    if (next.experts != nullptr) next.experts->Prefetch(next.likely);
    if (!needed.empty()) compute(needed);
  }
};

}  // namespace switchyard
