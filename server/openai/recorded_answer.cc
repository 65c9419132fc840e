#include "server/openai/recorded_answer.h"

namespace switchyard::openai {

RequestRecord RecordOf(const http::Report& report) {
  return {
      .begin = report.begin,
      .protocol = "http",
      .method = report.method,
      .path = report.path,
      .status = report.status,
      .complete = report.complete,
      .bytes = report.bytes,
      .duration = report.duration,
      .time_to_first_byte = report.bytes > 0 ? std::optional<absl::Duration>(report.time_to_first_byte) : std::nullopt,
      .request_id = report.id,
      .client = report.client};
}

}  // namespace switchyard::openai
