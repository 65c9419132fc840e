// TLS for the gRPC server. Internal to this folder.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace switchyard {

struct TlsFilePaths {
  std::string cert;       // chain, PEM
  std::string key;        // PEM
  std::string client_ca;  // PEM; empty: clients need no certificate
};

// TLS 1.2 and later. The files are looked at every few seconds, and new ones are used for new connections; broken ones
// are not. INVALID_ARGUMENT names the flag and the file that cannot be used now.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(const TlsFilePaths& files);

}  // namespace switchyard
