// The OpenAI-compatible HTTP front end: the one entry that the serve command calls.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/edge.h"
#include "server/engine_slot.h"
#include "server/http/server.h"
#include "server/metrics_exporter.h"

namespace switchyard::openai {

// What one request may ask for, whatever the engine could do.
struct Limits {
  int32_t max_choices_per_prompt = 16;         // `n`
  int32_t max_choices = 1024;                  // prompts x n of one request
  int32_t max_logprobs = 20;                   // `logprobs`, `top_logprobs`
  int32_t max_stop_strings = 4;                // as OpenAI's
  int32_t max_stop_string_bytes = 1024;        // each
  size_t max_pending_bytes = 4 * 1024 * 1024;  // unsent output of one stream; beyond it the request is aborted
  size_t merge_after_updates = 32;             // unsent updates of one choice; beyond it they are merged to one chunk
};

struct ApiConfig {
  http::ServerConfig http;
  MetricsOptions metrics;
  Limits limits;
};

// Listens at once and serves whatever state `slot` is in: /health, /ready and /metrics always, the rest once the engine
// is there. `slot` and the engine in it outlive the server, `edge` outlives both. Errors are those of
// http::Server::Start.
absl::StatusOr<std::unique_ptr<http::Server>> StartServer(const ApiConfig& config, EngineSlot* slot, Edge* edge);

}  // namespace switchyard::openai
