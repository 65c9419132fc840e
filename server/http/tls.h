// Certificates for the HTTP server. Internal to this folder.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/http/stream.h"

namespace switchyard::http {

// A server's context of TLS 1.2 and later, from a certificate chain and its key in PEM. INVALID_ARGUMENT names the flag
// and the file that cannot be used.
absl::StatusOr<TlsContext> LoadTls(const std::string& cert_path, const std::string& key_path);

}  // namespace switchyard::http
