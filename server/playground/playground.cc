#include "server/playground/playground.h"

#include <openssl/sha.h>

#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/playground/page.h"

namespace switchyard {
namespace {

// 'sha256-…' of what stands between the only `open` and the only `close`. Source: Content Security Policy Level 3,
// section 6.7.2.
std::string HashSource(std::string_view page, std::string_view open, std::string_view close) {
  const size_t begin = page.find(open) + open.size();
  const std::string_view text = page.substr(begin, page.find(close, begin) - begin);
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return absl::StrCat("'sha256-", absl::Base64Escape(digest), "'");
}

}  // namespace

http::Response PlaygroundPage() {
  const std::string policy =
      absl::StrCat("default-src 'none'; script-src ", HashSource(kPlaygroundPage, "<script>", "</script>"),
                   "; style-src ", HashSource(kPlaygroundPage, "<style>", "</style>"),
                   "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
  return {.content_type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy", policy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"}},
          .body = std::string(kPlaygroundPage)};
}

}  // namespace switchyard
