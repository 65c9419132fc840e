#include <arpa/inet.h>

#include <boost/asio.hpp>
#include <cstring>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "parallel/rendezvous.h"

namespace switchyard {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// The entries and how a request changes or reads them.
class Entries {
 public:
  struct Answer {
    absl::StatusCode code = absl::StatusCode::kOk;
    std::string text;
  };

  // nullopt: the request makes no sense.
  std::optional<Answer> Handle(std::string_view request) {
    uint16_t key_bytes = 0;
    if (request.size() < 1 + sizeof(key_bytes)) return std::nullopt;
    const char operation = request[0];
    std::memcpy(&key_bytes, request.data() + 1, sizeof(key_bytes));
    key_bytes = ntohs(key_bytes);
    request.remove_prefix(1 + sizeof(key_bytes));
    if (key_bytes == 0 || key_bytes > RendezvousServer::kMaxKeyBytes || key_bytes > request.size()) return std::nullopt;
    const std::string key(request.substr(0, key_bytes));
    const std::string_view value = request.substr(key_bytes);
    if (operation == 'S') return Set(key, value);
    if (operation == 'G' && value.empty()) return Get(key);
    return std::nullopt;
  }

 private:
  Answer Set(const std::string& key, std::string_view value) {
    if (entries_.size() >= RendezvousServer::kMaxEntries) {
      return {absl::StatusCode::kResourceExhausted, absl::StrCat("the store is full at ", entries_.size(), " keys")};
    }
    if (!entries_.emplace(key, value).second) {
      return {absl::StatusCode::kAlreadyExists, absl::StrCat("\"", key, "\" is set already")};
    }
    return {};
  }
  Answer Get(const std::string& key) const {
    const auto entry = entries_.find(key);
    if (entry == entries_.end()) return {absl::StatusCode::kNotFound, ""};
    return {absl::StatusCode::kOk, entry->second};
  }

  std::map<std::string, std::string> entries_;
};

// One connection; keeps itself alive through its pending operation.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Entries& entries, size_t& num_connections)
      : socket_(std::move(socket)), entries_(entries), num_connections_(num_connections) {
    ++num_connections_;
  }
  ~Session() { --num_connections_; }

  void ReadRequest() {
    asio::async_read(socket_, asio::buffer(&length_, sizeof(length_)),
                     [self = shared_from_this()](error_code error, size_t) {
                       if (!error) self->ReadBody();
                     });
  }

 private:
  void ReadBody() {
    const size_t bytes = ntohl(length_);
    if (bytes > RendezvousServer::kMaxFrameBytes) return;
    frame_.resize(bytes);
    asio::async_read(socket_, asio::buffer(frame_), [self = shared_from_this()](error_code error, size_t) {
      if (!error) self->Answer();
    });
  }

  void Answer() {
    const std::optional<Entries::Answer> answer = entries_.Handle(frame_);
    if (!answer.has_value()) return;
    length_ = htonl(static_cast<uint32_t>(1 + answer->text.size()));
    frame_.assign(reinterpret_cast<const char*>(&length_), sizeof(length_));
    frame_ += static_cast<char>(answer->code);
    frame_ += answer->text;
    asio::async_write(socket_, asio::buffer(frame_), [self = shared_from_this()](error_code error, size_t) {
      if (!error) self->ReadRequest();
    });
  }

  tcp::socket socket_;
  Entries& entries_;
  size_t& num_connections_;
  uint32_t length_ = 0;
  std::string frame_;
};

class AsioRendezvousServer final : public RendezvousServer {
 public:
  AsioRendezvousServer() : acceptor_(io_) {}
  ~AsioRendezvousServer() override {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

  int port() const override { return port_; }

  absl::Status Start(const std::string& host, int port) {
    error_code error;
    const auto found = tcp::resolver(io_).resolve(host, std::to_string(port), error);
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("rendezvous: master address \"", host, "\" cannot be resolved: ", error.message()));
    }
    error = Listen(*found.begin());
    if (error == asio::error::basic_errors::address_in_use || error == boost::system::errc::permission_denied) {
      return absl::UnavailableError(absl::StrCat("rendezvous: cannot listen on ", host, ":", port, ": ",
                                                 error.message(), "; choose another master port"));
    }
    if (error) error = Listen(tcp::endpoint(tcp::v4(), static_cast<uint16_t>(port)));
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("rendezvous: cannot listen on ", host, ":", port, ": ", error.message()));
    }
    port_ = acceptor_.local_endpoint().port();
    Accept();
    thread_ = std::thread([this] { io_.run(); });
    return absl::OkStatus();
  }

 private:
  error_code Listen(const tcp::endpoint& endpoint) {
    error_code error;
    acceptor_.close(error);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      // Beyond the limit, and on a transient error such as too many open files, the connection is dropped.
      if (!error && num_connections_ < kMaxConnections) {
        std::make_shared<Session>(std::move(socket), entries_, num_connections_)->ReadRequest();
      }
      Accept();
    });
  }

  // Sessions live in io_'s pending operations and refer to what is declared before it.
  Entries entries_;
  size_t num_connections_ = 0;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RendezvousServer>> StartRendezvousServer(const std::string& host, int port) {
  auto server = std::make_unique<AsioRendezvousServer>();
  const absl::Status status = server->Start(host, port);
  if (!status.ok()) return status;
  return server;
}

}  // namespace switchyard
