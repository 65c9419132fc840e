// The gRPC server's edge: TLS, mutual TLS, unix sockets, keys and what is recorded.
#include "server/rpc/grpc_server.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/access/key_file.h"
#include "switchyard/v1/generation.grpc.pb.h"
#include "tests/server/fake_engine.h"
#include "tests/server/tls_files.h"

namespace switchyard {
namespace {

class GrpcEdge : public ::testing::Test {
 protected:
  void Start(GrpcServerConfig config) {
    config.port = 0;
    slot_.Serve(&engine_);
    auto server = GrpcServer::Start(config, &slot_, edge_.get());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::shared_ptr<grpc::ChannelCredentials> Client(const std::string& cert = "", const std::string& key = "") const {
    grpc::SslCredentialsOptions options{.pem_root_certs = ReadText(files_.ca())};
    if (!cert.empty()) {
      options.pem_cert_chain = ReadText(cert);
      options.pem_private_key = ReadText(key);
    }
    return grpc::SslCredentials(options);
  }

  grpc::Status Call(const std::shared_ptr<grpc::ChannelCredentials>& credentials, const std::string& address = "") {
    const std::string target = address.empty() ? "localhost:" + std::to_string(server_->port()) : address;
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::Generation::NewStub(grpc::CreateCustomChannel(target, credentials, arguments));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
    v1::GetModelInfoResponse info;
    return stub->GetModelInfo(&context, {}, &info);
  }

  TlsFiles files_;
  std::unique_ptr<Edge> edge_ = std::make_unique<Edge>();
  FakeEngine engine_;
  EngineSlot slot_{"fake-model"};
  std::unique_ptr<GrpcServer> server_;  // ends first
};

TEST_F(GrpcEdge, ServesOverTlsAndFollowsANewCertificate) {
  Start({.tls_cert = files_.cert(), .tls_key = files_.key()});
  EXPECT_TRUE(Call(Client()).ok());
  EXPECT_EQ(Call(grpc::InsecureChannelCredentials()).error_code(), grpc::StatusCode::UNAVAILABLE);
  files_.Renew();
  bool renewed = false;
  for (const absl::Time end = absl::Now() + absl::Seconds(120); !renewed && absl::Now() < end;) {
    renewed = Call(Client()).ok();  // whose authority is the new one
    if (!renewed) absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_TRUE(renewed);
}

TEST_F(GrpcEdge, MutualTlsAsksForACertificateOfItsAuthority) {
  Start({.tls_cert = files_.cert(), .tls_key = files_.key(), .client_ca = files_.ca()});
  EXPECT_TRUE(Call(Client(files_.client_cert(), files_.client_key())).ok());
  EXPECT_EQ(Call(Client()).error_code(), grpc::StatusCode::UNAVAILABLE);
  const TlsFiles other;
  EXPECT_EQ(Call(Client(other.client_cert(), other.client_key())).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GrpcEdge, NamesACertificateThatCannotBeUsed) {
  const auto server =
      GrpcServer::Start({.port = 0, .tls_cert = "/no/cert.pem", .tls_key = files_.key()}, &slot_, edge_.get());
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(server.status().message().find("--tls-cert /no/cert.pem"), std::string::npos);
}

TEST_F(GrpcEdge, ServesAUnixSocketForThisUserAlone) {
  const std::string path = files_.path("grpc.sock");
  Start({.unix_path = path});
  struct stat found {};
  ASSERT_EQ(stat(path.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_TRUE(Call(grpc::InsecureChannelCredentials(), "unix:" + path).ok());
  EXPECT_EQ(GrpcServer::Start({.unix_path = path}, &slot_, edge_.get()).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(GrpcEdge, RefusesKeysOverTheirLimitAndRecordsEachCall) {
  const std::string log = files_.path("access.log");
  edge_ = std::make_unique<Edge>(*ParseKeys("team:secret tokens-per-minute=4", "keys", {}),
                                 *Telemetry::Create({.access_log = log}));
  Start({});
  const auto stub = v1::Generation::NewStub(
      grpc::CreateChannel("localhost:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
  v1::GenerateRequest request;
  request.set_text("hi");
  const auto generate = [&](const std::string& id, grpc::ClientContext* context) {
    request.set_request_id(id);
    context->AddMetadata("authorization", "Bearer secret");
    const auto reader = stub->Generate(context, request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
    }
    return reader->Finish();
  };
  grpc::ClientContext first, second;
  EXPECT_TRUE(generate("first", &first).ok());
  const grpc::Status refused = generate("second", &second);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(refused.error_message().find("may use 4 tokens a minute"), std::string::npos) << refused.error_message();
  const auto retry_after = second.GetServerTrailingMetadata().find("retry-after");
  ASSERT_NE(retry_after, second.GetServerTrailingMetadata().end());
  EXPECT_GT(std::stoi(std::string(retry_after->second.data(), retry_after->second.size())), 60);

  server_->Shutdown(absl::Seconds(5));
  engine_.WaitForInFlight(0);
  server_.reset();
  edge_ = std::make_unique<Edge>();  // writes the old one's lines
  std::istringstream text(ReadText(log));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 2u);
  if (lines[0]["request_id"] == "second") std::swap(lines[0], lines[1]);  // written in any order
  EXPECT_EQ(lines[0]["path"], "/switchyard.v1.Generation/Generate");
  EXPECT_EQ(lines[0]["request_id"], "first");
  EXPECT_EQ(lines[0]["key"], "team");
  EXPECT_EQ(lines[0]["status"], 0);
  EXPECT_EQ(lines[0]["prompt_tokens"], 3);
  EXPECT_EQ(lines[0]["completion_tokens"], 14);
  EXPECT_EQ(lines[1]["status"], 8);
}

TEST_F(GrpcEdge, ListsItsServicesOnlyWhenAskedTo) {
  const auto status_of_reflection = [this] {
    grpc::GenericStub stub(
        grpc::CreateChannel("localhost:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials()));
    const grpc::Slice list_services("\x3a\x00", 2);  // field 7 of ServerReflectionRequest
    const grpc::ByteBuffer request(&list_services, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    absl::Notification done;
    grpc::Status status;
    stub.UnaryCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {}, &request, &response,
                   [&](const grpc::Status& result) {
                     status = result;
                     done.Notify();
                   });
    done.WaitForNotification();
    return status.error_code();
  };
  Start({});
  EXPECT_EQ(status_of_reflection(), grpc::StatusCode::UNIMPLEMENTED);
  server_.reset();
  Start({.reflection = true});
  EXPECT_EQ(status_of_reflection(), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace switchyard
