// The bytes of one connection, whether TCP, a unix socket or TLS over one of them: an AsyncReadStream and
// AsyncWriteStream for Asio and Beast. Internal to this folder.
#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/strand.hpp>
#include <memory>
#include <utility>

namespace switchyard::http {

using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
using Socket = boost::asio::basic_stream_socket<boost::asio::generic::stream_protocol, Strand>;
using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

// Thread safety: the socket's strand.
class Stream {
 public:
  using executor_type = Strand;

  // Without `tls`: plain.
  Stream(Socket socket, TlsContext tls) : socket_(std::move(socket)), context_(std::move(tls)) {
    if (context_ != nullptr) tls_ = std::make_unique<boost::asio::ssl::stream<Socket&>>(socket_, *context_);
  }

  Strand get_executor() { return socket_.get_executor(); }
  Socket& socket() { return socket_; }
  bool is_tls() const { return tls_ != nullptr; }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_ != nullptr) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return socket_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_ != nullptr) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return socket_.async_write_some(buffers, std::forward<Token>(token));
  }
  // Only with TLS.
  template <typename Token>
  auto async_handshake(Token&& token) {
    return tls_->async_handshake(boost::asio::ssl::stream_base::server, std::forward<Token>(token));
  }
  // Sends the close_notify that tells the end from a cut, and waits for the client's.
  template <typename Token>
  auto async_shutdown(Token&& token) {
    return tls_->async_shutdown(std::forward<Token>(token));
  }

 private:
  Socket socket_;
  TlsContext context_;  // used by tls_
  std::unique_ptr<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace switchyard::http
