// How the weights of a dense checkpoint are quantised, while they are loaded or once (`switchyard quantize`).
#pragma once

#include "kernels/quantization/quantization.h"

namespace switchyard {

// Routers and norms always stay as they are.
struct QuantizationChoices {
  QuantizationRecipe experts;
  QuantizationRecipe attention;   // projections
  QuantizationRecipe embeddings;  // and the output projection

  bool any() const { return !experts.is_dense() || !attention.is_dense() || !embeddings.is_dense(); }
  bool operator==(const QuantizationChoices&) const = default;
};

}  // namespace switchyard
