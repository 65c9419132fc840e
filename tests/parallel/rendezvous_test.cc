#include "parallel/rendezvous.h"

#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <string>

#include "absl/time/clock.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

class Rendezvous : public testing::Test {
 protected:
  std::unique_ptr<RendezvousClient> Connect() {
    return *ConnectRendezvous("127.0.0.1", server_->port(), absl::Now() + absl::Minutes(2));
  }
  // Sends raw bytes as a stranger might; whether the server then closes the connection without an answer.
  bool ClosesAfter(const std::string& bytes) {
    namespace asio = boost::asio;
    asio::io_context io;
    asio::ip::tcp::socket socket(io);
    socket.connect({asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(server_->port())});
    asio::write(socket, asio::buffer(bytes));
    boost::system::error_code error;
    socket.shutdown(asio::ip::tcp::socket::shutdown_send, error);  // fails where the server has closed already
    char answer;
    return asio::read(socket, asio::buffer(&answer, 1), error) == 0;
  }

  std::unique_ptr<RendezvousServer> server_ = *StartRendezvousServer("127.0.0.1", 0);
};

TEST_F(Rendezvous, GivesAValueToOtherClients) {
  const auto writer = Connect();
  const auto reader = Connect();
  const std::string binary("a\0b\n\xff", 5);
  EXPECT_EQ(*reader->TryGet("key"), std::nullopt);
  ASSERT_TRUE(writer->Set("key", binary).ok());
  EXPECT_EQ(*reader->TryGet("key"), binary);
  ASSERT_TRUE(writer->Set("empty", "").ok());
  EXPECT_EQ(*reader->TryGet("empty"), "");
}

TEST_F(Rendezvous, WaitsForAValue) {
  RunRanks(4, [&](int rank) {
    const auto client = Connect();
    ASSERT_TRUE(client->Set("rank" + std::to_string(rank), std::to_string(rank)).ok());
    for (int r = 0; r < 4; ++r) {
      const auto value = client->Get("rank" + std::to_string(r), absl::Now() + absl::Minutes(2));
      ASSERT_TRUE(value.ok()) << value.status();
      EXPECT_EQ(*value, std::to_string(r));
    }
  });
}

TEST_F(Rendezvous, NamesTheKeyThatNobodySets) {
  const auto status = Connect()->Get("absent", absl::Now() + absl::Milliseconds(50)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find("\"absent\""), std::string::npos) << status;
}

TEST_F(Rendezvous, RefusesToSetAKeyAgain) {
  const auto client = Connect();
  ASSERT_TRUE(client->Set("key", "first").ok());
  EXPECT_EQ(client->Set("key", "second").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*client->TryGet("key"), "first");
}

TEST_F(Rendezvous, MalformedRequestsCloseTheirOwnConnectionOnly) {
  const auto client = Connect();
  ASSERT_TRUE(client->Set("key", "value").ok());
  EXPECT_TRUE(ClosesAfter("GET / HTTP/1.1\r\n\r\n"));                      // a length of 1 GB
  EXPECT_TRUE(ClosesAfter(std::string("\xff\xff\xff\xff", 4)));            // of 4 GB
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\0\0", 4)));                    // no operation
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\0\x03G\0\0", 7)));             // an empty key
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\0\x04G\0\x09k", 8)));          // a key longer than its frame
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\0\x04X\0\x01k", 8)));          // an unknown operation
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\0\x05G\0\x03keyvalue", 13)));  // a read with a value
  EXPECT_TRUE(ClosesAfter(std::string("\0\0\x02\x10G\x02\x01", 7) + std::string(0x20d, 'k')));  // a key of 513 bytes
  EXPECT_TRUE(ClosesAfter(std::string("\0\0", 2)));                                             // half a length
  EXPECT_EQ(*client->TryGet("key"), "value");
}

TEST_F(Rendezvous, TellsTheClientThatTheServerIsGone) {
  const auto client = Connect();
  server_.reset();
  EXPECT_EQ(client->TryGet("key").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(Rendezvous, NamesAnAddressThatIsTaken) {
  const auto status = StartRendezvousServer("127.0.0.1", server_->port()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(std::to_string(server_->port())), std::string::npos) << status;
}

TEST_F(Rendezvous, NamesTheServerThatDoesNotAnswer) {
  const int port = server_->port();
  server_.reset();
  const auto status = ConnectRendezvous("127.0.0.1", port, absl::Now() + absl::Milliseconds(50)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(status.message().find("127.0.0.1:" + std::to_string(port)), std::string::npos) << status;
}

}  // namespace
}  // namespace switchyard
