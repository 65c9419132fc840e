// One request as the access log tells of it. Values only; never a prompt or an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace switchyard {

struct RequestRecord {
  absl::Time begin;
  std::string protocol;           // "http", "grpc"
  std::string method;             // "POST"; of gRPC empty
  std::string path;               // without the query; "/switchyard.v1.Generation/Generate"
  int status = 0;                 // of HTTP, or gRPC's code; HTTP's 0: the client went before there was an answer
  bool complete = false;          // the whole answer was sent
  std::optional<uint64_t> bytes;  // of the answer
  absl::Duration duration;
  std::optional<absl::Duration> time_to_first_byte;
  std::string request_id;
  std::string client;
  std::string key;       // the API key's name; empty: none
  std::string trace_id;  // empty: none
  // Of requests that generate.
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> completion_tokens;
};

// {"time": "2024-05-01T12:00:00.000Z", "protocol": "http", ...} and the end of the line. What is not known is null.
std::string ToAccessLogLine(const RequestRecord& record);

}  // namespace switchyard
