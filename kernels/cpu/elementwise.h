// Loops over single elements, on one thread.
#pragma once

#include <cstdint>

namespace switchyard {

// acc[i] += factor * x[i].
void AddScaled(const float* x, float factor, int64_t count, float* acc);

// gate[i] = silu(gate[i]) * up[i], silu(z) = z / (1 + exp(-z)). Source: Shazeer 2020, arXiv:2002.05202 (SwiGLU).
void SiluMultiply(const float* up, int64_t count, float* gate);

}  // namespace switchyard
