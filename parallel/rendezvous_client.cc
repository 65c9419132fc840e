#include <arpa/inet.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/rendezvous.h"

namespace switchyard {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class AsioRendezvousClient final : public RendezvousClient {
 public:
  AsioRendezvousClient(std::string server, absl::Duration request_timeout)
      : server_(std::move(server)), request_timeout_(request_timeout), socket_(io_) {}

  // One attempt.
  error_code Connect(const std::string& host, int port, absl::Time deadline) {
    error_code error;
    const auto endpoints = tcp::resolver(io_).resolve(host, std::to_string(port), error);
    if (error) return error;
    error = Within(deadline, [&](auto done) {
      asio::async_connect(socket_, endpoints, [done](error_code result, const tcp::endpoint&) { done(result); });
    });
    if (!error) socket_.set_option(tcp::no_delay(true), error);
    if (!error) local_address_ = socket_.local_endpoint(error).address().to_string();
    return error;
  }

  std::string local_address() const override { return local_address_; }

  absl::Status Set(const std::string& key, const std::string& value) override {
    return Request('S', key, value).status();
  }

  absl::StatusOr<std::optional<std::string>> TryGet(const std::string& key) override {
    absl::StatusOr<std::string> value = Request('G', key, "");
    if (value.ok()) return *std::move(value);
    if (absl::IsNotFound(value.status())) return std::nullopt;
    return value.status();
  }

 private:
  // Runs one asynchronous operation to its end or the deadline, when the socket is closed.
  template <typename Start>
  error_code Within(absl::Time deadline, Start start) {
    error_code result = asio::error::would_block;
    start([&result](error_code error) { result = error; });
    io_.restart();
    io_.run_for(absl::ToChronoNanoseconds(std::max(deadline - absl::Now(), absl::ZeroDuration())));
    if (!io_.stopped()) {
      error_code ignored;
      socket_.close(ignored);
      io_.run();
      return asio::error::timed_out;
    }
    return result;
  }

  absl::StatusOr<std::string> Request(char operation, const std::string& key, const std::string& value) {
    CHECK(!key.empty() && key.size() <= RendezvousServer::kMaxKeyBytes);
    const std::lock_guard lock(mu_);
    const uint16_t key_bytes = htons(static_cast<uint16_t>(key.size()));
    std::string body(1, operation);
    body.append(reinterpret_cast<const char*>(&key_bytes), sizeof(key_bytes)).append(key).append(value);
    CHECK_LE(body.size(), RendezvousServer::kMaxFrameBytes);
    uint32_t length = htonl(static_cast<uint32_t>(body.size()));
    const std::string frame = std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + body;

    const absl::Time deadline = absl::Now() + request_timeout_;
    error_code error = Within(deadline, [&](auto done) {
      asio::async_write(socket_, asio::buffer(frame), [done](error_code result, size_t) { done(result); });
    });
    if (!error) error = Read(&length, sizeof(length), deadline);
    if (error) return Lost(error.message());
    const size_t answer_bytes = ntohl(length);
    if (answer_bytes == 0 || answer_bytes > RendezvousServer::kMaxFrameBytes) return Lost("its answer is malformed");
    std::string answer(answer_bytes, '\0');
    error = Read(answer.data(), answer.size(), deadline);
    if (error) return Lost(error.message());
    const auto code = static_cast<absl::StatusCode>(answer[0]);
    answer.erase(0, 1);
    if (code == absl::StatusCode::kOk) return answer;
    return absl::Status(code, absl::StrCat("rendezvous at ", server_, ": ", answer));
  }

  error_code Read(void* to, size_t bytes, absl::Time deadline) {
    return Within(deadline, [&](auto done) {
      asio::async_read(socket_, asio::buffer(to, bytes), [done](error_code result, size_t) { done(result); });
    });
  }

  absl::Status Lost(const std::string& why) {
    error_code ignored;
    socket_.close(ignored);
    return absl::UnavailableError(absl::StrCat("rendezvous: lost process 0 at ", server_, ": ", why));
  }

  const std::string server_;
  const absl::Duration request_timeout_;
  std::mutex mu_;  // one request at a time
  asio::io_context io_;
  tcp::socket socket_;
  std::string local_address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RendezvousClient>> ConnectRendezvous(const std::string& host, int port,
                                                                    absl::Time deadline,
                                                                    absl::Duration request_timeout) {
  const std::string server = absl::StrCat(host, ":", port);
  absl::Duration pause = absl::Milliseconds(10);
  for (;;) {
    auto client = std::make_unique<AsioRendezvousClient>(server, request_timeout);
    const error_code error = client->Connect(host, port, deadline);
    if (!error) return client;
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("process 0 did not answer at ", server, " in time: ", error.message()));
    }
    absl::SleepFor(std::min(pause, left));
    pause = std::min(2 * pause, absl::Milliseconds(500));
  }
}

}  // namespace switchyard
