// switchyard.v1 messages <-> engine requests and updates. Knows protobuf, not gRPC.
//
// Thread safety: free functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// Tokenises text and chats, and fills what is absent: the checkpoint's generation defaults, else those that
// generation.proto names. The request keeps the message's id, which may be empty.
// NOT_FOUND: `model` is not `served_model_name`; INVALID_ARGUMENT: no prompt, a chat that the template refuses;
// UNIMPLEMENTED: text for a model without tokenizer, a chat without template. Ranges are the engine's to check.
absl::StatusOr<GenerationRequest> ToEngineRequest(const v1::GenerateRequest& message, const Engine& engine,
                                                  const std::string& served_model_name);

// `with_logprobs`: the request asked for log-probabilities of generated tokens. `finish` is set for updates that end
// well (kStop, kLength); how to report the others depends on the stream: see EndStatus.
v1::GenerateResponse ToResponse(const std::string& request_id, const RequestUpdate& update, bool with_logprobs);

// OK for kStop and kLength; CANCELLED for kAborted unless the update says why; the update's status for kError.
// `update.finish` is set.
absl::Status EndStatus(const std::string& request_id, const RequestUpdate& update);

v1::GetModelInfoResponse ToModelInfo(const Engine& engine, const std::string& served_model_name);
v1::GetLoadResponse ToLoad(const EngineStats& stats);
v1::GetExpertLoadResponse ToExpertLoad(const EngineStats& stats);

}  // namespace switchyard
