#include "server/http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace switchyard::http {
namespace {

namespace net = boost::asio;
using boost::system::error_code;

constexpr size_t kReadSize = 4096;
constexpr absl::Duration kLingerTime = absl::Seconds(2);
constexpr size_t kMaxLingerBytes = 1024 * 1024;

std::string ClientOf(const Socket& socket) {
  error_code error;
  const Socket::endpoint_type peer = socket.remote_endpoint(error);
  if (error) return "unknown";
  const int family = peer.data()->sa_family;
  if (family != AF_INET && family != AF_INET6) return "unix";
  net::ip::tcp::endpoint endpoint;
  endpoint.resize(peer.size());
  std::memcpy(endpoint.data(), peer.data(), peer.size());
  const std::string address = endpoint.address().to_string();
  return family == AF_INET6 ? absl::StrCat("[", address, "]:", endpoint.port())
                            : absl::StrCat(address, ":", endpoint.port());
}

}  // namespace

Connection::Connection(Socket socket, TlsContext tls, size_t max_buffered)
    : stream_(std::move(socket), std::move(tls)),
      deadline_(stream_.get_executor()),
      buffer_(max_buffered),
      client_(ClientOf(stream_.socket())) {}

Awaitable<bool> Connection::Handshake(absl::Duration limit) {
  if (!stream_.is_tls()) co_return true;
  Arm(limit);
  const auto [error] = co_await stream_.async_handshake(kAwait);
  Disarm();
  co_return !error && !lost_;
}

Awaitable<bool> Connection::Fill(absl::Duration limit) {
  const size_t room = buffer_.max_size() - buffer_.size();
  Arm(limit);
  const auto [error, size] = co_await stream_.async_read_some(buffer_.prepare(std::min(kReadSize, room)), kAwait);
  Disarm();
  buffer_.commit(size);
  co_return !error && !lost_;
}

Awaitable<bool> Connection::Write(std::string_view bytes, absl::Duration limit) {
  while (!bytes.empty() && !lost_) {
    Arm(limit);
    const auto [error, size] = co_await stream_.async_write_some(net::buffer(bytes), kAwait);
    Disarm();
    if (error) Lose();
    bytes.remove_prefix(size);
  }
  co_return !lost_;
}

Awaitable<void> Connection::Linger() {
  error_code ignored;
  Arm(kLingerTime);
  if (stream_.is_tls()) co_await stream_.async_shutdown(kAwait);
  Socket& socket = stream_.socket();
  socket.shutdown(Socket::shutdown_send, ignored);
  std::array<char, kReadSize> discarded;
  for (size_t total = 0; total < kMaxLingerBytes && !timed_out_ && !lost_;) {
    const auto [error, size] = co_await socket.async_read_some(net::buffer(discarded), kAwait);
    if (error) break;
    total += size;
  }
  Disarm();
}

void Connection::Close() {
  error_code ignored;
  stream_.socket().close(ignored);
}

void Connection::Arm(absl::Duration limit) {
  timed_out_ = false;
  const uint64_t generation = ++deadline_generation_;
  deadline_.expires_after(absl::ToChronoNanoseconds(limit));
  deadline_.async_wait([self = shared_from_this(), generation](error_code error) {
    // The timer may have fired just before it was disarmed.
    if (error || generation != self->deadline_generation_) return;
    self->timed_out_ = true;
    self->Cancel();
  });
}

void Connection::Disarm() {
  ++deadline_generation_;
  deadline_.cancel();
}

void Connection::Cancel() {
  error_code ignored;
  stream_.socket().cancel(ignored);
}

void Connection::Lose() {
  lost_ = true;
  Cancel();
}

}  // namespace switchyard::http
