// API keys as bearer tokens, for both front ends.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// Thread safety: immutable.
class Authorizer {
 public:
  // No keys: everyone is let in.
  explicit Authorizer(const std::vector<std::string>& api_keys);

  bool required() const { return !digests_.empty(); }
  // `authorization` is the header's (or the metadata's) value: "Bearer KEY", the scheme in any case (RFC 9110, 11.1).
  // Time depends on the length of the value only: SHA-256 digests are compared, each with every key.
  bool Allows(std::string_view authorization) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest Hash(std::string_view key);

  std::vector<Digest> digests_;
};

}  // namespace switchyard
