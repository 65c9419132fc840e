// Collectives among the ranks of one model.
//
// Every rank calls the same collectives in the same order from one thread of its own. A call returns when this rank's
// part is done; for a GPU, when it is queued on the rank's stream, after what was queued before it. Buffers are on the
// rank's device, and what a call receives into must not overlap what it sends.
//
// Sums: every rank holds the same bits after an all-reduce. The transports of the CPU add in float32 and in rank order,
// so that the transport makes no difference; NCCL adds in an order of its own. Sums are of float32, bfloat16 or float16
// tensors. A transport may refuse (CHECK) the 16-bit types: those of the CPU do. Staged ones add them in float32 in
// rank order and round once; NCCL may round after each addition.
//
// Time limits: where a call returns when it is done, each has the communicator's time limit, from its call to its
// return. Where it is only queued, the limit is the step's: all that is queued between BeginStep and EndStep must be
// complete that long after BeginStep, or the communicator aborts itself, which ends the wait for the device as well.
// Such a communicator has no limit for what is queued outside a step, Barrier and set-up excepted. Idle time between
// calls or steps does not count.
//
// Any failure (peer lost, time limit, mismatched size, Abort) is a Status that names the rank where that is known
// (UNAVAILABLE, DEADLINE_EXCEEDED or INTERNAL); after one, every further call fails at once with the same Status, which
// is Health(). Results of a queued collective may be read once EndStep, after Backend::Synchronize, has returned OK.
// Arguments that contradict each other on one rank are a programmer's error and CHECK.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/tensor.h"

namespace switchyard {

// One tensor of a grouped collective: what this rank sends and where it receives.
struct Transfer {
  ConstTensorView send;
  TensorView recv;
};

class Communicator {
 public:
  // Tensors that one grouped collective can carry.
  static constexpr size_t kMaxTransfers = 4;

  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // "shared memory", "gloo/tcp", "nccl 2.28.9" or "staged over gloo/tcp": for logs and metrics.
  virtual std::string transport() const = 0;
  // Whether collectives whose sizes do not change may be called in the body of Backend::Record and replayed, by all
  // ranks alike. AllToAllRowsGroup then keeps the counts of the recording.
  virtual bool can_record() const { return false; }

  // The failure that further calls would return; OK if there is none. Callable from any thread, never blocks.
  virtual absl::Status Health() const = 0;

  // A step: what the rank's thread queues between the two, replays of recordings included. EndStep is called after
  // Backend::Synchronize, whatever that returned, and returns the failure of anything queued since BeginStep. Steps do
  // not nest; of no effect where calls return when they are done.
  virtual void BeginStep() {}
  virtual absl::Status EndStep() { return absl::OkStatus(); }

  virtual absl::Status Barrier() = 0;
  // `data` of `root` to all; same size on every rank.
  virtual absl::Status Broadcast(TensorView data, int root) = 0;
  // data[i] = sum over ranks.
  virtual absl::Status AllReduceSum(TensorView data) = 0;
  // recv [n, ...] = sum over ranks of block rank() of their send [size * n, ...].
  virtual absl::Status ReduceScatterSum(ConstTensorView send, TensorView recv) = 0;

  // The two collectives that carry several tensors at once, for the latency of one: a token's row travels with its
  // slots and weights. (NCCL has the same idea in ncclGroupStart and ncclGroupEnd.)
  //
  // For each transfer: recv [size * n, ...] = the ranks' send [n, ...] in rank order.
  virtual absl::Status AllGatherGroup(std::span<const Transfer> transfers) = 0;
  // For each transfer, with rows of its own width: send_rows[r] consecutive rows of `send` go to rank r, recv_rows[r]
  // rows of `recv` come from rank r; both sides in rank order without gaps. The counts, [size] each, are host memory
  // and apply to every transfer; recv_rows must match what the peers send.
  virtual absl::Status AllToAllRowsGroup(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                                         std::span<const int64_t> recv_rows) = 0;

  // The same with one tensor.
  absl::Status AllGather(ConstTensorView send, TensorView recv) {
    const Transfer transfer{send, recv};
    return AllGatherGroup({&transfer, 1});
  }
  absl::Status AllToAllRows(ConstTensorView send, std::span<const int64_t> send_rows, TensorView recv,
                            std::span<const int64_t> recv_rows) {
    const Transfer transfer{send, recv};
    return AllToAllRowsGroup({&transfer, 1}, send_rows, recv_rows);
  }

  // Makes pending and future calls on every rank that can be reached fail: here with `reason`, elsewhere with `reason`
  // too, or with UNAVAILABLE and this rank's number where its connections closed before the reason could be read.
  // Callable from any thread.
  virtual void Abort(const absl::Status& reason) = 0;
};

}  // namespace switchyard
