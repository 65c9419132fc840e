// The form of the router for a step of decoding: few tokens, at most eight experts. Bound: latency.
#pragma once

#include "kernels/cuda/router.h"
#include "kernels/cuda/stream.h"

namespace switchyard::cuda {

// Up to 512 tokens, 8 experts and 8,192 elements of a row.
bool IsRouteOfFew(const RouteArgs& args);

// Route() where IsRouteOfFew() holds; args.scratch is not used.
void RouteFew(const RouteArgs& args, Stream stream);

}  // namespace switchyard::cuda
