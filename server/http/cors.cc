#include "server/http/cors.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"

namespace switchyard::http {
namespace {

constexpr size_t kMaxRequestedHeaders = 1024;

// A list of header names, which goes back as it came.
bool IsTokenList(std::string_view text) {
  return text.size() <= kMaxRequestedHeaders && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == ',' || c == ' ';
         });
}

}  // namespace

std::string CorsPolicy::AllowedOrigin(const Request& request) const {
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return "";
  if (std::find(origins_.begin(), origins_.end(), "*") != origins_.end()) return "*";
  return std::find(origins_.begin(), origins_.end(), origin) == origins_.end() ? "" : std::string(origin);
}

std::optional<Response> CorsPolicy::Preflight(const Request& request) const {
  if (origins_.empty() || request.method != "OPTIONS" || request.header("origin").empty() ||
      request.header("access-control-request-method").empty()) {
    return std::nullopt;
  }
  Response response{.status = 204};
  if (AllowedOrigin(request).empty()) return response;
  const std::string_view requested = request.header("access-control-request-headers");
  response.headers.push_back({"Access-Control-Allow-Methods", "GET, POST, OPTIONS"});
  response.headers.push_back({"Access-Control-Allow-Headers", !requested.empty() && IsTokenList(requested)
                                                                  ? std::string(requested)
                                                                  : "authorization, content-type"});
  response.headers.push_back({"Access-Control-Max-Age", "600"});
  return response;
}

void CorsPolicy::AddHeaders(const Request& request, std::vector<Header>* headers) const {
  if (origins_.empty()) return;
  headers->push_back({"Vary", "Origin"});
  const std::string allowed = AllowedOrigin(request);
  if (allowed.empty()) return;
  headers->push_back({"Access-Control-Allow-Origin", allowed});
  headers->push_back({"Access-Control-Expose-Headers", "x-request-id, retry-after"});
}

}  // namespace switchyard::http
