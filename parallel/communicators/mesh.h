// Bytes between every two ranks: what a transport has to offer for MeshCommunicator to make collectives of it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "parallel/communicator.h"
#include "parallel/communicators/call.h"

namespace switchyard {

// Used like a Communicator: by one thread, except for Abort and Health; the first failure is final.
class Mesh {
 public:
  virtual ~Mesh() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string transport() const = 0;

  // All ranks, each with the same `call`. sends and recvs are [size, call.num_transfers], row r for rank r; this rank's
  // own row is ignored. Sends to r what r receives from this rank; returns when all of this rank's parts have moved.
  // INTERNAL where the ranks' calls differ or a sender's bytes are not what the receiver expects.
  virtual absl::Status Exchange(const CallSignature& call, std::span<const std::span<const std::byte>> sends,
                                std::span<const std::span<std::byte>> recvs) = 0;
  // The first failure, OK if none; any thread.
  virtual absl::Status Health() const = 0;
  virtual void Abort(const absl::Status& reason) = 0;
};

// Every collective as one exchange, or two for large sums over more than two ranks (reduce-scatter, then all-gather):
// on few ranks the number of steps counts, not the number of messages. Sums are made by the receiver in rank order.
std::unique_ptr<Communicator> CreateMeshCommunicator(std::unique_ptr<Mesh> mesh);

}  // namespace switchyard
