// A key-value store over TCP: process 0 runs the server, every process (0 too) a client.
//
// A request is one frame and so is its answer: uint32 length in network order, then that many bytes. Request: 'S' or
// 'G', uint16 length of the key in network order, key, value (of 'S'). Answer: an absl::StatusCode as one byte (of 'G':
// NOT_FOUND while the key is not set), then the value or the error's text.
// For a trusted network, as all traffic between ranks: nothing is authenticated or encrypted. Frames, keys and entries
// are bounded, and a malformed frame closes its connection and no other.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "parallel/key_value_store.h"

namespace switchyard {

// Serves from a thread of its own until it is destroyed.
class RendezvousServer {
 public:
  static constexpr size_t kMaxFrameBytes = size_t{1} << 20;
  static constexpr size_t kMaxKeyBytes = 512;
  static constexpr size_t kMaxEntries = size_t{1} << 16;
  static constexpr size_t kMaxConnections = 4096;

  virtual ~RendezvousServer() = default;
  virtual int port() const = 0;
};

// Listens at `host`, or at all addresses where `host` leads to this machine by another name; port 0: any free port.
// UNAVAILABLE names address and reason.
absl::StatusOr<std::unique_ptr<RendezvousServer>> StartRendezvousServer(const std::string& host, int port);

class RendezvousClient : public KeyValueStore {
 public:
  // This end of the connection: the address by which this machine reaches the server.
  virtual std::string local_address() const = 0;
};

// Tries again until the server answers; DEADLINE_EXCEEDED names its address and the last error. Each request of the
// client may take `request_timeout`; one that fails breaks the client.
absl::StatusOr<std::unique_ptr<RendezvousClient>> ConnectRendezvous(const std::string& host, int port,
                                                                    absl::Time deadline,
                                                                    absl::Duration request_timeout = absl::Seconds(20));

}  // namespace switchyard
