#include "server/settings/edge_flags.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/access/key_file.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxMessage = int64_t{1} << 30;
constexpr absl::Duration kLeastTimeout = absl::Milliseconds(100);

void AddAccessFlags(ServeSettings& serve, std::vector<Flag>* flags) {
  const char* access = "Access";
  Flag api_key = RepeatableFlag("api-key", "KEY",
                                "clients must send one of these keys; may be repeated; other users "
                                "of this host can see it, so prefer --api-key-file",
                                &serve.api_keys);
  api_key.is_secret = true;
  flags->push_back(In(access, std::move(api_key)));
  flags->push_back(In(access, TextFlag("api-key-file", "FILE",
                                       "one key per line: KEY or NAME:KEY, then max-concurrent=N and "
                                       "tokens-per-minute=N if they differ; # begins a comment line; read again on "
                                       "SIGHUP",
                                       &serve.api_key_file)));
  flags->push_back(In(access, IntFlagOf("key-max-concurrent", "requests in flight of one key; 0: no limit",
                                        {.remedy = "0 is no limit"}, &serve.key_limits.max_concurrent)));
  flags->push_back(In(access, IntFlagOf("key-tokens-per-minute", "prompt and answer tokens of one key; 0: no limit",
                                        {.remedy = "0 is no limit"}, &serve.key_limits.tokens_per_minute)));
  flags->push_back(In(access, SwitchFlag("allow-unauthenticated", "listen beyond this host although there are no keys",
                                         &serve.allow_unauthenticated)));
  flags->push_back(In(access, TextFlag("tls-cert", "FILE",
                                       "certificate chain in PEM: TLS 1.2 or later on both front ends, unix sockets "
                                       "aside; read again on SIGHUP (gRPC: within seconds of a change)",
                                       &serve.tls_cert)));
  flags->push_back(In(access, TextFlag("tls-key", "FILE", "private key of --tls-cert in PEM", &serve.tls_key)));
  flags->push_back(In(access, TextFlag("grpc-tls-client-ca", "FILE",
                                       "gRPC clients must bring a certificate of one of these authorities (mutual TLS)",
                                       &serve.grpc_tls_client_ca)));
  flags->push_back(
      In(access, RepeatableFlag("cors-origin", "ORIGIN",
                                "let pages of this origin call the HTTP API: https://app.example.org, or * "
                                "for all; may be repeated",
                                &serve.cors_origins)));
}

void AddHttpLimitFlags(http::Limits& limits, std::vector<Flag>* flags) {
  const char* group = "HTTP limits";
  flags->push_back(In(group, IntFlagOf("http-max-connections", "open connections; more are answered 503",
                                       {.min = 1, .max = 1 << 20}, &limits.max_connections)));
  flags->push_back(In(group, BoundedSizeFlag("http-max-header-size", "header of one request; more is answered 431",
                                             1024, 1 << 20, &limits.max_header_bytes)));
  flags->push_back(In(group, IntFlagOf("http-max-headers", "header lines of one request; more are answered 431",
                                       {.min = 1, .max = 10'000}, &limits.max_headers)));
  flags->push_back(In(group, BoundedSizeFlag("http-max-body-size", "body of one request; more is answered 413", 1024,
                                             kMaxMessage, &limits.max_body_bytes)));
  flags->push_back(
      In(group, BoundedSizeFlag("http-max-body-memory", "bodies of all requests being received; more are answered 503",
                                1 << 20, int64_t{1} << 40, &limits.max_body_memory)));
  flags->push_back(
      In(group, DurationFlag("http-header-timeout", "first byte to the end of the header, and TLS handshake; then 408",
                             kLeastTimeout, &limits.header_timeout)));
  flags->push_back(In(group, DurationFlag("http-body-timeout", "end of the header to the end of the body; then 408",
                                          kLeastTimeout, &limits.body_timeout)));
  flags->push_back(
      In(group, DurationFlag("http-idle-timeout", "between two requests of a connection; then it is closed",
                             kLeastTimeout, &limits.idle_timeout)));
  flags->push_back(In(group, DurationFlag("http-write-timeout",
                                          "a client that reads nothing for so long is dropped, and its request aborted",
                                          kLeastTimeout, &limits.write_timeout)));
}

void AddGrpcLimitFlags(GrpcLimits& limits, std::vector<Flag>* flags) {
  const char* group = "gRPC limits";
  flags->push_back(In(group, BoundedSizeFlag("grpc-max-message-size", "one request message; more is RESOURCE_EXHAUSTED",
                                             1024, kMaxMessage, &limits.max_message_bytes)));
  flags->push_back(In(group, BoundedSizeFlag("grpc-max-metadata-size", "metadata of one call", 1024, 1 << 20,
                                             &limits.max_metadata_bytes)));
  flags->push_back(In(group, IntFlagOf("grpc-max-streams", "calls of one connection at a time; more wait at the client",
                                       {.min = 1, .max = 1 << 20}, &limits.max_streams)));
  flags->push_back(In(group, DurationFlag("grpc-keepalive-time", "a ping after so long without traffic",
                                          absl::Seconds(1), &limits.keepalive_time)));
  flags->push_back(In(group, DurationFlag("grpc-keepalive-timeout",
                                          "a connection that does not answer a ping is closed, its requests aborted",
                                          absl::Seconds(1), &limits.keepalive_timeout)));
  flags->push_back(In(group, DurationFlag("grpc-min-ping-interval", "clients that ping more often are sent away",
                                          kLeastTimeout, &limits.min_ping_interval)));
}

// "*", or scheme://host[:port] as browsers send it in `Origin`.
bool IsOrigin(absl::string_view text) {
  if (text == "*") return true;
  const size_t scheme = text.find("://");
  if (scheme == absl::string_view::npos || scheme == 0) return false;
  const absl::string_view host = text.substr(scheme + 3);
  if (host.empty() || host.find_first_of("/?#@*, ") != absl::string_view::npos) return false;
  for (const char c : text) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c)) || absl::ascii_isupper(static_cast<unsigned char>(c))) {
      return false;
    }
  }
  return true;
}

absl::Status CheckTls(const ServeSettings& serve) {
  if (serve.tls_cert.empty() != serve.tls_key.empty()) {
    return absl::InvalidArgumentError(serve.tls_cert.empty() ? "--tls-key needs --tls-cert, the certificate of that key"
                                                             : "--tls-cert needs --tls-key, its private key");
  }
  if (!serve.grpc_tls_client_ca.empty() && serve.tls_cert.empty()) {
    return absl::InvalidArgumentError(
        "--grpc-tls-client-ca needs --tls-cert and --tls-key: without TLS no client "
        "shows a certificate");
  }
  return absl::OkStatus();
}

absl::Status CheckReach(const ServeSettings& serve) {
  if (NeedsKey(serve) || serve.allow_unauthenticated) return absl::OkStatus();
  for (const auto& [flag, endpoint] : {std::pair("--http", serve.http), std::pair("--grpc", serve.grpc)}) {
    const bool asks_for_certificates = flag == absl::string_view("--grpc") && !serve.grpc_tls_client_ca.empty();
    if (IsLoopback(endpoint) || asks_for_certificates) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", Format(endpoint), " can be reached from other hosts, and there are no API keys: set ",
                     "--api-key-file, or say --allow-unauthenticated if everyone may use the model"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddEdgeFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  ServeSettings& serve = draft->settings.serve;
  AddAccessFlags(serve, flags);
  AddHttpLimitFlags(serve.http_limits, flags);
  AddGrpcLimitFlags(serve.grpc_limits, flags);
  const char* records = "Access log and traces";
  flags->push_back(In(records, TextFlag("access-log", "FILE",
                                        "one JSON line for each request, never its text; - is standard output; opened "
                                        "again on SIGHUP",
                                        &serve.access_log)));
  flags->push_back(In(records, TextFlag("otlp-endpoint", "URL",
                                        "send OpenTelemetry traces there, as OTLP over HTTP in JSON: "
                                        "http://127.0.0.1:4318",
                                        &draft->otlp_endpoint)));
}

absl::Status CompleteEdge(SettingsDraft* draft) {
  ServeSettings& serve = draft->settings.serve;
  if (!serve.api_key_file.empty()) {
    const auto keys = ReadKeyFile(serve.api_key_file, serve.key_limits);
    if (!keys.ok()) return keys.status();
  }
  if (serve.key_limits != KeyLimits() && !NeedsKey(serve)) {
    return absl::InvalidArgumentError(
        "--key-max-concurrent and --key-tokens-per-minute limit the requests of a key, and there are none: set "
        "--api-key-file");
  }
  for (const std::string& origin : serve.cors_origins) {
    if (IsOrigin(origin)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--cors-origin \"", origin,
                     "\" is neither * nor an origin as browsers send it: https://app.example.org:8443, in lower case "
                     "and without a path"));
  }
  if (!draft->otlp_endpoint.empty()) {
    absl::StatusOr<HttpUrl> url = ParseHttpUrl(draft->otlp_endpoint);
    if (!url.ok()) return absl::InvalidArgumentError(absl::StrCat("--otlp-endpoint: ", url.status().message()));
    serve.otlp_endpoint = *std::move(url);
  }
  if (absl::Status status = CheckTls(serve); !status.ok()) return status;
  return CheckReach(serve);
}

}  // namespace switchyard
