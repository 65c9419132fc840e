#include "server/settings/units.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace switchyard {
namespace {

constexpr size_t kMaxUnixPath = 107;  // sockaddr_un's, without the end

absl::Status Invalid(absl::string_view text, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not ", expected));
}

// The factor of "", "k", "ki", "m", ...; 0 for anything else.
double UnitFactor(absl::string_view unit) {
  static constexpr absl::string_view kPrefixes = "kmgt";
  if (unit.empty()) return 1;
  const size_t power = kPrefixes.find(unit.front()) + 1;
  if (power == 0) return 0;
  if (unit.size() == 1) return std::pow(1000.0, power);
  return unit == std::string{unit.front(), 'i'} ? std::pow(1024.0, power) : 0;
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  constexpr absl::string_view kExpected = "a size such as 4GiB, 512MB or a number of bytes";
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  const size_t digits = lower.find_first_not_of("0123456789.");
  const std::string number = lower.substr(0, digits);
  absl::string_view unit = digits == std::string::npos ? "" : absl::string_view(lower).substr(digits);
  unit = absl::StripAsciiWhitespace(absl::StripSuffix(unit, "b"));
  double value = 0;
  const double factor = UnitFactor(unit);
  if (number.empty() || !absl::SimpleAtod(number, &value) || factor == 0) return Invalid(text, kExpected);
  if (value * factor >= 9.2e18) return Invalid(text, "a size below 8 EiB");
  return static_cast<int64_t>(value * factor);
}

std::string FormatBytes(int64_t bytes) {
  static constexpr absl::string_view kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, kUnits[unit]);
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  double seconds = 0;
  const std::string trimmed(absl::StripAsciiWhitespace(text));
  if (absl::SimpleAtod(trimmed, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(trimmed, &duration)) {
    return Invalid(text, "a duration such as 30s, 1m30s, 250ms or a number of seconds");
  }
  if (std::isnan(seconds) || duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return Invalid(text, "a duration of zero or more that ends");
  }
  return duration;
}

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view text) {
  constexpr absl::string_view kExpected = "HOST:PORT, such as 127.0.0.1:8000, [::1]:8000 or 0.0.0.0:8000";
  if (absl::string_view path = text; absl::ConsumePrefix(&path, "unix:")) {
    if (absl::StartsWith(path, "/") && path.size() <= kMaxUnixPath) return Endpoint{.unix_path = std::string(path)};
    return Invalid(text, absl::StrCat("unix:/PATH with an absolute path of at most ", kMaxUnixPath, " bytes"));
  }
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Invalid(text, kExpected);
  absl::string_view host = text.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
    if (!absl::StrContains(host, ':')) return Invalid(text, kExpected);
  } else if (host.find_first_of(":[] /") != absl::string_view::npos) {
    return Invalid(text, absl::StrCat(kExpected, " (an IPv6 address goes into brackets)"));
  }
  int32_t port = 0;
  const absl::string_view digits = text.substr(colon + 1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return Invalid(text, absl::StrCat(kExpected, "; a port is 0 to 65535"));
  }
  return Endpoint{.host = host.empty() ? "0.0.0.0" : std::string(host), .port = static_cast<uint16_t>(port)};
}

std::string Format(const Endpoint& endpoint) {
  if (!endpoint.unix_path.empty()) return absl::StrCat("unix:", endpoint.unix_path);
  const bool is_ipv6 = absl::StrContains(endpoint.host, ':');
  return absl::StrCat(is_ipv6 ? "[" : "", endpoint.host, is_ipv6 ? "]" : "", ":", endpoint.port);
}

bool IsLoopback(const Endpoint& endpoint) {
  if (!endpoint.unix_path.empty() || endpoint.host == "localhost" || endpoint.host == "::1") return true;
  // Only a literal address: 127.example.org is a name.
  return absl::StartsWith(endpoint.host, "127.") && endpoint.host.find_first_not_of("0123456789.") == std::string::npos;
}

absl::StatusOr<HttpUrl> ParseHttpUrl(absl::string_view text) {
  constexpr absl::string_view kExpected = "a URL such as http://127.0.0.1:4318";
  absl::string_view rest = text;
  if (absl::StartsWithIgnoreCase(rest, "https://")) {
    return Invalid(text, absl::StrCat(kExpected, ": https is for a collector beside this server to add"));
  }
  if (!absl::ConsumePrefix(&rest, "http://")) return Invalid(text, kExpected);
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string path = slash == rest.size() ? "/" : std::string(rest.substr(slash));
  for (const char c : path) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c)) || c == '?' || c == '#') return Invalid(text, kExpected);
  }
  std::string authority(rest.substr(0, slash));
  const bool has_port =
      authority.find(':', authority.rfind(']') == std::string::npos ? 0 : authority.rfind(']')) != std::string::npos;
  if (!has_port) authority += ":80";
  absl::StatusOr<Endpoint> endpoint = ParseEndpoint(authority);
  if (!endpoint.ok() || authority.front() == ':' || !endpoint->unix_path.empty() || endpoint->port == 0 ||
      absl::StrContains(endpoint->host, '@')) {
    return Invalid(text, kExpected);
  }
  return HttpUrl{.endpoint = *std::move(endpoint), .path = path};
}

std::string Format(const HttpUrl& url) { return absl::StrCat("http://", Format(url.endpoint), url.path); }

absl::StatusOr<std::vector<int32_t>> ParseIntList(absl::string_view text, int32_t min, int32_t max) {
  std::vector<int32_t> values;
  if (absl::StripAsciiWhitespace(text).empty()) return values;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    int32_t value = 0;
    if (!absl::SimpleAtoi(part, &value) || value < min || value > max) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a list such as ", min, ",", min + 1, ": \"",
                                                     part, "\" is no whole number from ", min, " to ", max));
    }
    values.push_back(value);
  }
  return values;
}

}  // namespace switchyard
