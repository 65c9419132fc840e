// The two streaming calls of switchyard.v1.Generation as gRPC reactors over engine requests.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>

#include "server/edge.h"
#include "server/engine_slot.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

struct StreamLimits {
  // Serialised responses that may wait for a slow reader, per stream. Past it the stream's requests are aborted and the
  // stream ends with RESOURCE_EXHAUSTED. One response of any size may always wait.
  size_t max_pending_bytes = size_t{1} << 20;
  // Requests of one GenerateBatch stream in flight; the stream is not read further until one has ended.
  size_t max_batch_requests = 1024;
};

// Each reactor owns itself until gRPC is done with it; an engine callback keeps what it needs alive. `slot` outlives
// both, and so does `edge`. Cancellation and deadlines abort the engine's requests at once. Without a right key the
// call ends with UNAUTHENTICATED; in a batch the key is looked at again for each request.
grpc::ServerWriteReactor<v1::GenerateResponse>* StartGenerate(grpc::CallbackServerContext* context,
                                                              const v1::GenerateRequest& message,
                                                              const EngineSlot& slot, Edge* edge,
                                                              const StreamLimits& limits);
grpc::ServerBidiReactor<v1::GenerateRequest, v1::GenerateResponse>* StartGenerateBatch(
    grpc::CallbackServerContext* context, const EngineSlot& slot, Edge* edge, const StreamLimits& limits);

}  // namespace switchyard
