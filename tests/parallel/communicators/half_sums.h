// The conformance test of sums over bfloat16 and float16 tensors, for the transports that offer them.
#pragma once

#include "parallel/communicator.h"

namespace switchyard {

// Every element is the float32 sum of the ranks' in rank order, rounded once. With two ranks any order gives that.
void CheckHalfSums(Communicator& communicator);

}  // namespace switchyard
