// libFuzzer target on the chat template evaluator: no crash, no leak, no endless run, whatever the template and the
// messages. An input is a template, then a byte 0, then JSON for the variable "messages".
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard::jinja;  // NOLINT(google-build-using-namespace): the one thing this file is about
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const absl::StatusOr<Template> parsed = Template::Parse(input.substr(0, end));
  const absl::StatusOr<Value> messages = end == std::string_view::npos ? Value() : ParseJson(input.substr(end + 1));
  if (!parsed.ok() || !messages.ok()) return 0;
  const absl::StatusOr<std::string> text = parsed->Render(
      {{"messages", *messages}, {"bos_token", Value(std::string("<s>"))}, {"add_generation_prompt", Value(true)}},
      {.now = absl::UnixEpoch(), .limits = {.max_steps = 100'000, .max_bytes = 8 << 20, .max_output_bytes = 1 << 20}});
  // A refusal by the template may have no words; every other fault has.
  if (!text.ok() && text.status().message().empty() && !absl::IsFailedPrecondition(text.status())) {
    std::fprintf(stderr, "broken promise: an error without a message\n");
    std::abort();
  }
  return 0;
}
