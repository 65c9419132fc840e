// Gloo's connections of one rank to each of the others, without its exceptions. Internal to this folder; gloo_links.cc
// is the one file that knows Gloo.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/communicators/gloo.h"
#include "parallel/key_value_store.h"

namespace gloo {
namespace rendezvous {
class Context;
}
namespace transport {
class UnboundBuffer;
}
}  // namespace gloo

namespace switchyard {

// Memory from which messages are sent, or into which they are received. Destroying it takes the memory from Gloo.
// Errors are UNAVAILABLE, with what happened to the connection.
//
// Thread safety: one thread sends, receives and waits; AbortWait is for any other.
class GlooBuffer {
 public:
  explicit GlooBuffer(std::unique_ptr<::gloo::transport::UnboundBuffer> buffer);
  ~GlooBuffer();

  enum class Direction { kSend, kReceive };

  // Messages of one slot between two ranks arrive in order. A message may be no longer than what receives it.
  absl::Status Send(int to, uint64_t slot, size_t bytes);
  absl::Status Receive(int from, uint64_t slot);

  struct Outcome {
    bool done = false;  // sent, or received; false without an error: AbortWait ended the wait
    std::string error;
  };
  // For one message of that direction. What has arrived counts even if the connection was lost afterwards. When `limit`
  // is over, that is an error, and Gloo closes all connections.
  Outcome Wait(Direction direction, std::chrono::milliseconds limit);
  // Ends the wait under way, or else the next one, whether its message has moved or not.
  void AbortWait(Direction direction);

 private:
  const std::unique_ptr<::gloo::transport::UnboundBuffer> buffer_;
};

// Thread safety: as GlooBuffer.
class GlooLinks {
 public:
  // Errors as CreateGlooCommunicator.
  static absl::StatusOr<std::unique_ptr<GlooLinks>> Connect(const GlooOptions& options, KeyValueStore& store);

  // `memory` is borrowed.
  std::unique_ptr<GlooBuffer> Register(void* memory, size_t bytes);
  void Close();

 private:
  explicit GlooLinks(std::shared_ptr<::gloo::rendezvous::Context> context) : context_(std::move(context)) {}

  const std::shared_ptr<::gloo::rendezvous::Context> context_;
};

// Writing to a peer that is gone raises SIGPIPE in the writing thread; the error code says the same. Threads that this
// one starts inherit it.
void BlockSigpipe();

}  // namespace switchyard
