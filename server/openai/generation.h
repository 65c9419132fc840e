// Runs a plan on the engine and writes its answer, whole or as a stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "server/http/answer.h"
#include "server/openai/generation_plan.h"
#include "server/openai/response_format.h"
#include "server/request_scope.h"

namespace switchyard::openai {

using FormatFactory = std::unique_ptr<ResponseFormat> (*)(const GenerationPlan* plan, const Tokenizer* tokenizer);

struct GenerationStart {
  GenerationPlan plan;
  ModelContext model;
  FormatFactory make_format;
  http::Waker waker;
  std::shared_ptr<RequestScope> scope;
  uint64_t serial = 0;  // unique in this process: makes the engine's ids unique whatever clients choose
};

// Submits every choice. What the engine refuses becomes an error answer, and the choices already submitted are aborted.
// The returned answer aborts what is unfinished when it is cancelled or destroyed.
std::unique_ptr<http::Answer> StartGeneration(GenerationStart start);

}  // namespace switchyard::openai
