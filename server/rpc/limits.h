// What a client of the gRPC server may cost. Values only; each but the last two is a flag of `switchyard serve`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace switchyard {

struct GrpcLimits {
  // Messages. A request of 1M token ids has some 3 MiB.
  int64_t max_message_bytes = 16 << 20;
  int64_t max_metadata_bytes = 16 << 10;
  // Streams of one connection at the same time; more wait at the client.
  int64_t max_streams = 1024;
  // A ping after so long without traffic; a connection that does not answer in time is closed and its requests aborted.
  absl::Duration keepalive_time = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(10);
  // Clients may ping as often as this, also without a call; those that ping more often are sent away.
  absl::Duration min_ping_interval = absl::Seconds(5);
  // Of a stream: see StreamLimits in generation_streams.h.
  size_t max_pending_bytes = size_t{1} << 20;
  size_t max_batch_requests = 1024;
};

}  // namespace switchyard
