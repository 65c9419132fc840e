// GenerationService over a FakeEngine, reached through an in-process channel.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/access/key_file.h"
#include "server/rpc/generation_service.h"
#include "server/rpc/pending_responses.h"
#include "tests/server/fake_engine.h"

namespace switchyard {

class ServiceTest : public ::testing::Test {
 protected:
  struct Setup {
    FakeEngine::Options engine;
    StreamLimits limits;
    std::string api_keys;  // as in a file; empty: none
    bool serving = true;
  };

  void Start(Setup setup) {
    engine_ = std::make_unique<FakeEngine>(setup.engine);
    if (setup.serving) slot_.Serve(engine_.get());
    std::vector<ApiKey> keys;
    if (!setup.api_keys.empty()) keys = *ParseKeys(setup.api_keys, "keys", {});
    edge_ = std::make_unique<Edge>(keys);
    service_ = std::make_unique<GenerationService>(&slot_, edge_.get(), setup.limits);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::Generation::NewStub(server_->InProcessChannel({}));
  }
  void Start() { Start(Setup()); }

  void TearDown() override {
    if (server_ == nullptr) return;
    engine_->Release();
    server_->Shutdown();
    server_->Wait();
  }

  static v1::GenerateRequest TextRequest(const std::string& id, int max_tokens = 64) {
    v1::GenerateRequest request;
    request.set_request_id(id);
    request.set_text("hi");
    request.mutable_stop()->set_max_tokens(max_tokens);
    return request;
  }

  struct Answer {
    grpc::Status status;
    v1::GenerateResponse merged;
    int num_responses = 0;
  };
  static Answer ReadAll(grpc::ClientReader<v1::GenerateResponse>* reader) {
    Answer answer;
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
      ++answer.num_responses;
      Merge(response, &answer.merged);
    }
    answer.status = reader->Finish();
    return answer;
  }
  Answer Call(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    return ReadAll(stub_->Generate(&context, request).get());
  }

  EngineSlot slot_{"fake-model"};
  std::unique_ptr<Edge> edge_;          // outlives the engine
  std::unique_ptr<FakeEngine> engine_;  // outlives the server
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

}  // namespace switchyard
