#include "server/access/authorizer.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace switchyard {

KeyDigest DigestOf(absl::string_view key) {
  KeyDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

Authorizer::Authorizer(const std::vector<ApiKey>& keys)
    : required_(!keys.empty()), entries_(std::make_shared<const Entries>()) {
  Replace(keys);
}

std::shared_ptr<const Authorizer::Entries> Authorizer::entries() const {
  absl::MutexLock lock(&mu_);
  return entries_;
}

std::shared_ptr<KeyAccount> Authorizer::Find(absl::string_view authorization) const {
  const size_t space = authorization.find(' ');
  if (space == absl::string_view::npos) return nullptr;
  if (!absl::EqualsIgnoreCase(authorization.substr(0, space), "bearer")) return nullptr;
  const KeyDigest given = DigestOf(absl::StripAsciiWhitespace(authorization.substr(space + 1)));
  std::shared_ptr<KeyAccount> found;
  for (const Entry& entry : *entries()) {
    if (CRYPTO_memcmp(given.data(), entry.digest.data(), given.size()) == 0) found = entry.account;
  }
  return found;
}

void Authorizer::Replace(const std::vector<ApiKey>& keys) {
  std::map<std::string, std::shared_ptr<KeyAccount>> accounts;
  for (const Entry& entry : *entries()) accounts.emplace(entry.account->name(), entry.account);
  auto entries = std::make_shared<Entries>();
  for (const ApiKey& key : keys) {
    std::shared_ptr<KeyAccount>& account = accounts[key.name];
    if (account == nullptr) {
      account = std::make_shared<KeyAccount>(key.name, key.limits);
    } else {
      account->SetLimits(key.limits);
    }
    entries->push_back({key.digest, account});
  }
  absl::MutexLock lock(&mu_);
  entries_ = std::move(entries);
}

std::vector<KeyUsage> Authorizer::usage() const {
  std::vector<KeyUsage> usage;
  std::set<const KeyAccount*> seen;
  for (const Entry& entry : *entries()) {
    if (seen.insert(entry.account.get()).second) usage.push_back(entry.account->usage());
  }
  return usage;
}

}  // namespace switchyard
