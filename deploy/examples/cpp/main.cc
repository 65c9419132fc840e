// Streams one completion from Switchyard over gRPC:
//   generate_client 127.0.0.1:50051 "In the beginning"
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "switchyard/v1/generation.grpc.pb.h"

namespace api = switchyard::v1;

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: generate_client HOST:PORT PROMPT\n";
    return 2;
  }
  const auto stub = api::Generation::NewStub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));

  api::GenerateRequest request;
  request.set_text(argv[2]);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_tokens(32);

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
  if (const char* key = std::getenv("SWITCHYARD_API_KEY"); key != nullptr) {
    context.AddMetadata("authorization", std::string("Bearer ") + key);
  }

  const std::unique_ptr<grpc::ClientReader<api::GenerateResponse>> reader = stub->Generate(&context, request);
  api::GenerateResponse response;
  std::cout << argv[2];
  while (reader->Read(&response)) std::cout << response.text() << std::flush;
  std::cout << "\n";
  const grpc::Status status = reader->Finish();
  if (!status.ok()) {
    std::cerr << "error " << status.error_code() << ": " << status.error_message() << "\n";
    return 1;
  }
  return 0;
}
