#include "server/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "absl/strings/ascii.h"

namespace switchyard {

Authorizer::Authorizer(const std::vector<std::string>& api_keys) {
  for (const std::string& key : api_keys) digests_.push_back(Hash(key));
}

Authorizer::Digest Authorizer::Hash(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

bool Authorizer::Allows(std::string_view authorization) const {
  if (digests_.empty()) return true;
  const size_t space = authorization.find(' ');
  if (space == std::string_view::npos) return false;
  if (absl::AsciiStrToLower(std::string(authorization.substr(0, space))) != "bearer") return false;
  const std::string key(authorization.substr(space + 1));
  const Digest given = Hash(std::string(absl::StripAsciiWhitespace(key)));
  bool allowed = false;
  for (const Digest& digest : digests_) {
    allowed |= CRYPTO_memcmp(given.data(), digest.data(), digest.size()) == 0;
  }
  return allowed;
}

}  // namespace switchyard
