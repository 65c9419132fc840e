// API keys as bearer tokens, for both front ends.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/access/api_key.h"
#include "server/access/key_account.h"

namespace switchyard {

// Thread safety: every member from any thread.
class Authorizer {
 public:
  // No keys: everyone is let in. That does not change later.
  explicit Authorizer(const std::vector<ApiKey>& keys);

  bool required() const { return required_; }
  // `authorization` is the header's (or the metadata's) value: "Bearer KEY", the scheme in any case (RFC 9110, 11.1).
  // Null if its key is none of ours, or there are none. Time depends on the length of the value and on the number of
  // keys only: SHA-256 digests are compared, each with every key's.
  std::shared_ptr<KeyAccount> Find(absl::string_view authorization) const;
  bool Allows(absl::string_view authorization) const { return !required_ || Find(authorization) != nullptr; }

  // In place of all keys; names that stay keep their accounts, and open requests go on. `keys` are not empty unless
  // there never were any.
  void Replace(const std::vector<ApiKey>& keys);

  // Of every name, in the order of the keys.
  std::vector<KeyUsage> usage() const;

 private:
  struct Entry {
    KeyDigest digest;
    std::shared_ptr<KeyAccount> account;
  };
  using Entries = std::vector<Entry>;
  std::shared_ptr<const Entries> entries() const;

  const bool required_;

  mutable absl::Mutex mu_;
  std::shared_ptr<const Entries> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace switchyard
