#include "server/commands/edge_setup.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/access/key_file.h"

namespace switchyard {
namespace {

// Those of --api-key, called flag-1, flag-2, ..., then those of the file.
absl::StatusOr<std::vector<ApiKey>> ReadKeys(const ServeSettings& settings) {
  std::vector<ApiKey> keys;
  for (const std::string& key : settings.api_keys) {
    keys.push_back(
        {.name = absl::StrCat("flag-", keys.size() + 1), .digest = DigestOf(key), .limits = settings.key_limits});
  }
  if (settings.api_key_file.empty()) return keys;
  absl::StatusOr<std::vector<ApiKey>> of_file = ReadKeyFile(settings.api_key_file, settings.key_limits);
  if (!of_file.ok()) return of_file.status();
  keys.insert(keys.end(), of_file->begin(), of_file->end());
  return keys;
}

void Tell(const char* what, const absl::Status& status) {
  if (!status.ok()) {
    spdlog::error("SIGHUP: {} as before: {}", what, std::string(status.message()));
  } else {
    spdlog::info("SIGHUP: {} read again", what);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Edge>> MakeEdge(const ServeSettings& settings) {
  const absl::StatusOr<std::vector<ApiKey>> keys = ReadKeys(settings);
  if (!keys.ok()) return keys.status();
  TelemetryConfig config{.access_log = settings.access_log};
  if (settings.otlp_endpoint.has_value()) {
    const HttpUrl& url = *settings.otlp_endpoint;
    config.spans = SpanExporterConfig{.collector = {
                                          .host = url.endpoint.host,
                                          .port = url.endpoint.port,
                                          .path = absl::StrCat(absl::StripSuffix(url.path, "/"), "/v1/traces"),
                                      }};
  }
  absl::StatusOr<std::unique_ptr<Telemetry>> telemetry = Telemetry::Create(config);
  if (!telemetry.ok()) return telemetry.status();
  return std::make_unique<Edge>(*keys, *std::move(telemetry));
}

bool HasFilesToReload(const ServeSettings& settings) {
  return !settings.api_key_file.empty() || !settings.tls_cert.empty() || !settings.access_log.empty();
}

void Reload(const ServeSettings& settings, Edge& edge, http::Server& http) {
  if (!settings.api_key_file.empty()) {
    const absl::StatusOr<std::vector<ApiKey>> keys = ReadKeys(settings);
    if (keys.ok()) edge.authorizer.Replace(*keys);
    Tell("API keys", keys.status());
  }
  if (!settings.tls_cert.empty()) Tell("certificate", http.ReloadTls());
  if (!settings.access_log.empty()) Tell("access log", edge.telemetry->ReopenLog());
}

}  // namespace switchyard
