#include "server/http/tls.h"

#include <openssl/ssl.h>

#include <boost/asio/ssl/context.hpp>

#include "absl/strings/str_cat.h"

namespace switchyard::http {

absl::StatusOr<TlsContext> LoadTls(const std::string& cert_path, const std::string& key_path) {
  namespace ssl = boost::asio::ssl;
  boost::system::error_code error;
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  // Renegotiation is work that clients may ask for at no cost to them; compression leaks what it compresses.
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  context->use_certificate_chain_file(cert_path, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls-cert ", cert_path, ": is no certificate chain in PEM: ", error.message()));
  }
  context->use_private_key_file(key_path, ssl::context::pem, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("--tls-key ", key_path, ": is no private key of the certificate in ",
                                                   cert_path, ": ", error.message()));
  }
  return context;
}

}  // namespace switchyard::http
