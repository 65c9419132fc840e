#include "server/rpc/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr unsigned kRefreshSeconds = 2;
constexpr char kServerName[] = "server";

absl::Status CheckPem(const char* flag, const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (file && absl::StrContains(text.str(), "-----BEGIN ")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", path, ": cannot be read, or holds no PEM"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(const TlsFilePaths& files) {
  namespace experimental = grpc::experimental;
  if (absl::Status status = CheckPem("--tls-cert", files.cert); !status.ok()) return status;
  if (absl::Status status = CheckPem("--tls-key", files.key); !status.ok()) return status;
  if (!files.client_ca.empty()) {
    if (absl::Status status = CheckPem("--grpc-tls-client-ca", files.client_ca); !status.ok()) return status;
  }
  experimental::TlsServerCredentialsOptions options(std::make_shared<experimental::FileWatcherCertificateProvider>(
      files.key, files.cert, files.client_ca, kRefreshSeconds));
  options.set_identity_cert_name(kServerName);
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.set_root_cert_name(kServerName);
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return experimental::TlsServerCredentials(options);
}

}  // namespace switchyard
