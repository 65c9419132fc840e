// Whether a request can be served at all, with an error that its author can act on.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/request.h"

namespace switchyard {

struct RequestLimits {
  int64_t vocab_size = 0;
  int64_t max_model_len = 0;
  bool has_text = true;  // the model has a tokenizer
};

constexpr int32_t kMaxTopLogProbs = 128;
constexpr size_t kMaxStopStrings = 64;
constexpr size_t kMaxStopStringBytes = 1024;
constexpr size_t kMaxCacheSaltBytes = 256;

// No vocabulary in use has longer tokens: a text beyond context x this is over the context however it is encoded, and
// encoding it would only cost time.
constexpr int64_t kMaxPromptBytesPerToken = 128;

// INVALID_ARGUMENT names the field, the value and the limit.
absl::Status ValidateRequest(const GenerationRequest& request, const RequestLimits& limits);

}  // namespace switchyard
