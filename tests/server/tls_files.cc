#include "tests/server/tls_files.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <fstream>
#include <memory>
#include <random>
#include <sstream>

#include "kernels/check.h"

namespace switchyard {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Key MakeKey() { return Key(EVP_EC_gen("P-256"), EVP_PKEY_free); }

void AddExtension(int nid, const char* value, X509* issuer, X509* certificate) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Without `issuer`: an authority that signs itself.
Certificate MakeCertificate(const std::string& name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key) {
  Certificate certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), static_cast<int32_t>(std::random_device()() >> 2));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1,
                             0);
  X509* signer = issuer == nullptr ? certificate.get() : issuer;
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer));
  if (issuer == nullptr) {
    AddExtension(NID_basic_constraints, "critical,CA:TRUE", signer, certificate.get());
  } else {
    AddExtension(NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1", signer, certificate.get());
  }
  CHECK(X509_sign(certificate.get(), issuer_key, EVP_sha256()) > 0);
  return certificate;
}

void Write(const std::string& path, X509* certificate) {
  FILE* file = std::fopen(path.c_str(), "w");
  CHECK(file != nullptr);
  PEM_write_X509(file, certificate);
  std::fclose(file);
}

void Write(const std::string& path, EVP_PKEY* key) {
  FILE* file = std::fopen(path.c_str(), "w");
  CHECK(file != nullptr);
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
}

}  // namespace

TlsFiles::TlsFiles() {
  std::string name = std::filesystem::temp_directory_path() / "switchyard-tls-XXXXXX";
  CHECK(mkdtemp(name.data()) != nullptr);
  directory_ = name;
  Renew();
}

TlsFiles::~TlsFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void TlsFiles::Renew() {
  const Key ca_key = MakeKey();
  const Certificate ca_certificate = MakeCertificate("test authority", ca_key.get(), nullptr, ca_key.get());
  Write(ca(), ca_certificate.get());
  for (const auto& [cert_path, key_path] : {std::pair(cert(), key()), std::pair(client_cert(), client_key())}) {
    const Key leaf_key = MakeKey();
    const Certificate leaf = MakeCertificate("localhost", leaf_key.get(), ca_certificate.get(), ca_key.get());
    Write(cert_path, leaf.get());
    Write(key_path, leaf_key.get());
  }
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace switchyard
