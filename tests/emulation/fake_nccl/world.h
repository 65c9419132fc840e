// How the fake's ranks meet: operations of one unique id, matched and executed.
#pragma once

#include <nccl.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace switchyard::fake_nccl {

enum class OpKind { kBroadcast, kAllReduce, kReduceScatter, kAllGather, kSend, kRecv };

struct Op {
  OpKind kind = OpKind::kAllReduce;
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclUint8;
  int peer = 0;       // root of kBroadcast; the other rank of kSend and kRecv
  int rank = 0;       // whose operation it is
  bool done = false;  // guarded by World's mutex
};
using Group = std::vector<std::shared_ptr<Op>>;  // of one rank; not empty

// Thread-safe. Collectives match by their order on each rank, sends with receives by their order between two ranks.
// Each rank has one stream.
class World {
 public:
  explicit World(int size) : size_(size), ranks_(size) {}

  int size() const { return size_; }
  // A rank is there; true once all are.
  void Join();
  bool complete() const;

  // A rank's groups run one after the other, each when those before it are done, by whichever rank brings the last part
  // that was missing. Of an aborted rank nothing runs.
  void Post(const Group& group);
  bool Done(const Group& group) const;
  // Blocks until the group is done, or its rank aborted.
  void Wait(const Group& group);
  void Abort(int rank);
  // Ranks called different collectives, or sends of another size than the receives.
  bool mismatched() const;

 private:
  using Pair = std::pair<int, int>;  // from, to

  struct RankState {
    std::deque<Group> groups;
    bool first_is_running = false;
    bool aborted = false;
    int64_t num_collectives = 0;  // begun so far
  };

  // All with mu_ held.
  void RunWhatCanRun();
  void Begin(const std::shared_ptr<Op>& op);
  void BeginCollective(const std::shared_ptr<Op>& op);
  void BeginSendOrRecv(const std::shared_ptr<Op>& op);
  static bool IsDone(const Group& group);

  const int size_;
  mutable std::mutex mu_;
  // Guarded by mu_.
  int num_joined_ = 0;
  bool mismatched_ = false;
  std::vector<RankState> ranks_;          // [size]
  std::map<int64_t, Group> collectives_;  // by number; [size], null where not begun
  std::map<Pair, Group> sends_;
  std::map<Pair, Group> recvs_;
  std::condition_variable changed_;
};

}  // namespace switchyard::fake_nccl
