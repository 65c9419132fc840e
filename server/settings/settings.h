// What a command line, the environment and a configuration file ask for: values only, validated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/engine_config.h"
#include "server/access/api_key.h"
#include "server/http/limits.h"
#include "server/rpc/limits.h"
#include "server/settings/units.h"

namespace switchyard {

enum class Command { kServe, kGenerate, kScore, kPlan, kQuantize, kDoctor };
const char* Name(Command command);  // "serve"

enum class LogFormat { kText, kJson };

struct LogSettings {
  std::string level = "info";  // as spdlog names them
  LogFormat format = LogFormat::kText;
};

struct ServeSettings {
  std::string served_model_name;  // never empty: --model's last component unless given
  Endpoint http{"127.0.0.1", 8000};
  Endpoint grpc{"127.0.0.1", 50051};
  bool grpc_reflection = false;
  http::Limits http_limits;
  GrpcLimits grpc_limits;

  std::vector<std::string> api_keys;  // of --api-key
  std::string api_key_file;           // read, and right, when the command line was; empty: none
  KeyLimits key_limits;               // of keys that bring none of their own
  bool allow_unauthenticated = false;
  std::string tls_cert;            // PEM files; empty, both: no TLS
  std::string tls_key;             //
  std::string grpc_tls_client_ca;  // PEM file; empty: gRPC clients need no certificate
  std::vector<std::string> cors_origins;

  std::string access_log;                // a file, or "-": standard output; empty: none
  std::optional<HttpUrl> otlp_endpoint;  // none: no traces
  bool metrics_alias_vllm = false;
  bool metrics_per_expert = false;
  absl::Duration drain_timeout = absl::Seconds(30);
  std::string ready_file;  // empty: none
};

inline bool NeedsKey(const ServeSettings& serve) { return !serve.api_keys.empty() || !serve.api_key_file.empty(); }

struct GenerateSettings {
  std::optional<std::string> prompt;  // this or the next
  std::optional<std::vector<int32_t>> prompt_tokens;
  bool chat = false;  // `prompt` is a user's message
  int32_t max_tokens = 128;
  float temperature = 0;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  std::vector<std::string> stop;
  bool json = false;
};

struct ScoreSettings {
  std::string input;    // "-": standard input
  int64_t batch = 64;   // lines in the engine at the same time
  std::string against;  // model directory whose distributions these are compared with; empty: none
};

struct PlanSettings {
  bool fit = false;  // choose context, batch and, if need be, precision
  bool json = false;
};

// Of EngineConfig it uses model_dir, quantize and num_threads.
struct QuantizeSettings {
  std::string out_dir;
  int64_t max_shard_bytes = 5'000'000'000;
};

struct DoctorSettings {
  bool json = false;
};

struct Settings {
  Command command = Command::kServe;
  EngineConfig engine;
  LogSettings log;
  ServeSettings serve;
  GenerateSettings generate;
  ScoreSettings score;
  PlanSettings plan;
  QuantizeSettings quantize;
  DoctorSettings doctor;
  bool check = false;  // validate, load nothing
};

}  // namespace switchyard
