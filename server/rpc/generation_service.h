// The gRPC service switchyard.v1.Generation over an engine slot.
#pragma once

#include <functional>

#include "server/edge.h"
#include "server/engine_slot.h"
#include "server/rpc/generation_streams.h"
#include "server/rpc/request_id_source.h"
#include "switchyard/v1/generation.grpc.pb.h"

namespace switchyard {

// Callback API: no call blocks a thread while the engine works.
// Thread safety: as gRPC needs it. `slot` and `edge` are borrowed and outlive the server that the service is in.
class GenerationService final : public v1::Generation::CallbackService {
 public:
  GenerationService(const EngineSlot* slot, Edge* edge, const StreamLimits& limits)
      : slot_(*slot), edge_(edge), limits_(limits) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;
  grpc::ServerBidiReactor<v1::GenerateRequest, v1::GenerateResponse>* GenerateBatch(
      grpc::CallbackServerContext* context) override;

  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context, const v1::AbortRequest* request,
                                  v1::AbortResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context, const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context, const v1::GetLoadRequest* request,
                                    v1::GetLoadResponse* response) override;
  grpc::ServerUnaryReactor* GetExpertLoad(grpc::CallbackServerContext* context, const v1::GetExpertLoadRequest* request,
                                          v1::GetExpertLoadResponse* response) override;

 private:
  // The answer of `respond`, which runs only if the call's key is right.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const char* method,
                                   const std::function<absl::Status()>& respond) const;
  // The engine once it is loaded, also while it drains or after it failed: what only reads needs no admission.
  absl::StatusOr<Engine*> LoadedEngine() const;

  // constant after construction
  const EngineSlot& slot_;
  Edge* const edge_;
  const StreamLimits limits_;

  RequestIdSource request_ids_;
};

}  // namespace switchyard
