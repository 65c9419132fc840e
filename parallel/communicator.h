// Collectives among the ranks of one model.
//
// Every rank calls the same collectives in the same order from one thread of its own; a call returns when this rank's
// part is done (for a GPU: queued on the rank's stream). Buffers are on the rank's device. Reductions are sums in
// float32, added in rank order, so every rank holds the same bits afterwards.
// Any failure (peer lost, time limit, mismatched size, Abort) is a Status that names the rank where that is known
// (UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL); after one, every further call fails at once with the same Status.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/tensor.h"

namespace switchyard {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // "shared memory" or "gloo/tcp": for logs and metrics.
  virtual std::string transport() const = 0;

  virtual absl::Status Barrier() = 0;
  // `data` of `root` to all; same size on every rank.
  virtual absl::Status Broadcast(TensorView data, int root) = 0;
  // data[i] = sum over ranks; float32.
  virtual absl::Status AllReduceSum(TensorView data) = 0;
  // recv [size * n, ...] = the ranks' send [n, ...] in rank order.
  virtual absl::Status AllGather(ConstTensorView send, TensorView recv) = 0;
  // recv [n, ...] = sum over ranks of block rank() of their send [size * n, ...]; float32.
  virtual absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) = 0;
  // Rows of equal width; send_rows[r] consecutive rows go to rank r, recv_rows[r] rows come from rank r; both sides in
  // rank order without gaps. recv_rows must match what the peers send.
  virtual absl::Status AllToAllRows(ConstTensorView send, std::span<const int64_t> send_rows, TensorView recv,
                                    std::span<const int64_t> recv_rows) = 0;

  // Makes pending and future calls on every rank that can be reached fail with `reason`. Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

}  // namespace switchyard
