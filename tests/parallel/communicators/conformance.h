// What every communicator must do, as functions that one rank of a group runs; the same for ranks that are threads and
// ranks that are processes. Failures are GoogleTest's.
#pragma once

#include "parallel/communicator.h"

namespace switchyard {

// Every collective, for sizes from nothing to several megabytes, with values that tell ranks and positions apart.
void CheckBarrier(Communicator& communicator);
void CheckBroadcast(Communicator& communicator);
void CheckAllReduceSum(Communicator& communicator);
void CheckReduceScatterSum(Communicator& communicator);
void CheckAllGather(Communicator& communicator);
void CheckAllToAllRows(Communicator& communicator);

void CheckAllCollectives(Communicator& communicator);

}  // namespace switchyard
