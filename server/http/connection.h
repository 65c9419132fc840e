// One client's stream with a limit on how long each step may take. Internal to this folder.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "server/http/stream.h"

namespace switchyard::http {

using Timer = boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                                boost::asio::wait_traits<std::chrono::steady_clock>, Strand>;
template <typename T>
using Awaitable = boost::asio::awaitable<T, Strand>;

// Yields (error_code, ...) instead of throwing.
inline constexpr auto kAwait = boost::asio::as_tuple(boost::asio::use_awaitable_t<Strand>());

// Thread safety: the stream's strand.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `max_buffered`: bytes that were read and not yet used. Without `tls`: plain.
  Connection(Socket socket, TlsContext tls, size_t max_buffered);

  Stream& stream() { return stream_; }
  boost::beast::flat_buffer& buffer() { return buffer_; }
  // "127.0.0.1:4711", "[::1]:4711", "unix".
  const std::string& client() const { return client_; }

  // False: no TLS came about. True at once without TLS.
  Awaitable<bool> Handshake(absl::Duration limit);
  // Reads into the buffer whatever comes first, as far as it has room. False: the end, an error, or nothing within
  // `limit`.
  Awaitable<bool> Fill(absl::Duration limit);
  // False: not all could be written; the connection is lost. `limit` is on each step forward, not on the whole.
  Awaitable<bool> Write(std::string_view bytes, absl::Duration limit);
  // Tells the client that this is the end, and waits for a moment that it has read everything: closing with unread
  // input would reset the connection and could take the answer from the client (RFC 9112, 9.6).
  Awaitable<void> Linger();
  void Close();

  // For operations on the stream itself: cancelled after `limit`, and then timed_out().
  void Arm(absl::Duration limit);
  void Disarm();
  bool timed_out() const { return timed_out_; }

  // Cancels what is being waited for.
  void Cancel();
  // From now on the connection is lost: the client has gone, or is to go.
  void Lose();
  bool lost() const { return lost_; }

 private:
  Stream stream_;
  Timer deadline_;
  boost::beast::flat_buffer buffer_;
  std::string client_;
  uint64_t deadline_generation_ = 0;
  bool timed_out_ = false;
  bool lost_ = false;
};

}  // namespace switchyard::http
