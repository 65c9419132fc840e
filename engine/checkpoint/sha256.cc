// The one file that knows OpenSSL.
#include <openssl/evp.h>

#include <array>

#include "absl/strings/escaping.h"
#include "engine/checkpoint/manifest.h"
#include "kernels/check.h"

namespace switchyard {

struct Sha256::Context {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> evp{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  CHECK(context_->evp != nullptr);
  CHECK_EQ(EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr), 1);
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Add(std::span<const std::byte> bytes) {
  CHECK_EQ(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()), 1);
}

std::string Sha256::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  CHECK_EQ(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), &size), 1);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

std::string Sha256Of(std::span<const std::byte> bytes) {
  Sha256 sha;
  sha.Add(bytes);
  return sha.Finish();
}

}  // namespace switchyard
