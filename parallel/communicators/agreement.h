// One answer for all ranks, so that none goes on where another cannot.
#pragma once

#include "absl/status/status.h"
#include "parallel/communicator.h"

namespace switchyard {

// A collective of `host`, whose tensors are in host memory: OK on every rank if each calls with OK, else on every rank
// the Status of the lowest one that does not, its number in front and its text cut to some 250 bytes. A failure of
// `host` itself is returned as it is.
absl::Status Agree(Communicator& host, const absl::Status& own);

}  // namespace switchyard
