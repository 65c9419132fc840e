#include "tests/emulation/fake_nccl/world.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/float_convert.h"

namespace switchyard::fake_nccl {
namespace {

size_t SizeOf(ncclDataType_t type) {
  if (type == ncclUint8) return 1;
  return type == ncclFloat16 || type == ncclBfloat16 ? 2 : 4;
}

void Copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
}

float Read(const void* data, ncclDataType_t type, size_t i) {
  if (type == ncclFloat32) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  return type == ncclBfloat16 ? FloatFromBFloat16(bits) : FloatFromFloat16(bits);
}

void Write(void* data, ncclDataType_t type, size_t i, float value) {
  if (type == ncclFloat32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<uint16_t*>(data)[i] = type == ncclBfloat16 ? BFloat16FromFloat(value) : Float16FromFloat(value);
  }
}

float Sum(const Group& ops, size_t i) {
  float sum = Read(ops[0]->send, ops[0]->type, i);
  for (size_t r = 1; r < ops.size(); ++r) sum += Read(ops[r]->send, ops[r]->type, i);
  return sum;
}

// The operations of all ranks, in rank order.
void Execute(const Group& ops) {
  const Op& first = *ops.front();
  const size_t bytes = first.count * SizeOf(first.type);
  switch (first.kind) {
    case OpKind::kBroadcast:
      for (const auto& op : ops) Copy(op->recv, ops[first.peer]->send, bytes);
      return;
    case OpKind::kAllReduce:
      // In place: element by element, read on all ranks before it is written.
      for (size_t i = 0; i < first.count; ++i) {
        const float sum = Sum(ops, i);
        for (const auto& op : ops) Write(op->recv, op->type, i, sum);
      }
      return;
    case OpKind::kReduceScatter:
      for (const auto& op : ops) {
        for (size_t i = 0; i < first.count; ++i) Write(op->recv, op->type, i, Sum(ops, op->rank * first.count + i));
      }
      return;
    case OpKind::kAllGather:
      for (const auto& op : ops) {
        for (const auto& from : ops) Copy(static_cast<char*>(op->recv) + from->rank * bytes, from->send, bytes);
      }
      return;
    case OpKind::kSend:
    case OpKind::kRecv:
      return;
  }
}

}  // namespace

void World::Join() {
  const std::lock_guard lock(mu_);
  ++num_joined_;
}

bool World::complete() const {
  const std::lock_guard lock(mu_);
  return num_joined_ == size_;
}

bool World::mismatched() const {
  const std::lock_guard lock(mu_);
  return mismatched_;
}

void World::Post(const Group& group) {
  const std::lock_guard lock(mu_);
  RankState& state = ranks_[group.front()->rank];
  if (state.aborted) return;
  for (const std::shared_ptr<Op>& op : group) op->done = false;
  state.groups.push_back(group);
  RunWhatCanRun();
  changed_.notify_all();
}

void World::RunWhatCanRun() {
  for (bool progress = true; std::exchange(progress, false);) {
    for (RankState& state : ranks_) {
      if (state.groups.empty()) continue;
      const Group& first = state.groups.front();
      if (!std::exchange(state.first_is_running, true)) {
        for (const std::shared_ptr<Op>& op : first) Begin(op);
        progress = true;
      }
      if (IsDone(first)) {
        state.groups.pop_front();
        state.first_is_running = false;
        progress = true;
      }
    }
  }
}

void World::Begin(const std::shared_ptr<Op>& op) {
  if (op->kind == OpKind::kSend || op->kind == OpKind::kRecv) {
    BeginSendOrRecv(op);
  } else {
    BeginCollective(op);
  }
}

void World::BeginCollective(const std::shared_ptr<Op>& op) {
  const int64_t number = ranks_[op->rank].num_collectives++;
  Group& ops = collectives_[number];
  ops.resize(size_);
  ops[op->rank] = op;
  for (const std::shared_ptr<Op>& other : ops) {
    if (other == nullptr) return;
    if (other->kind != op->kind || other->count != op->count || other->type != op->type || other->peer != op->peer) {
      mismatched_ = true;
      return;
    }
  }
  Execute(ops);
  for (const std::shared_ptr<Op>& executed : ops) executed->done = true;
  collectives_.erase(number);
}

void World::BeginSendOrRecv(const std::shared_ptr<Op>& op) {
  const bool is_send = op->kind == OpKind::kSend;
  const Pair pair = is_send ? Pair(op->rank, op->peer) : Pair(op->peer, op->rank);
  Group& others = is_send ? recvs_[pair] : sends_[pair];
  if (others.empty()) {
    (is_send ? sends_ : recvs_)[pair].push_back(op);
    return;
  }
  const std::shared_ptr<Op> other = others.front();
  if (other->count != op->count || other->type != op->type) {
    mismatched_ = true;
    return;
  }
  others.erase(others.begin());
  Copy(is_send ? other->recv : op->recv, is_send ? op->send : other->send, op->count * SizeOf(op->type));
  op->done = other->done = true;
}

bool World::IsDone(const Group& group) {
  return std::all_of(group.begin(), group.end(), [](const std::shared_ptr<Op>& op) { return op->done; });
}

bool World::Done(const Group& group) const {
  const std::lock_guard lock(mu_);
  return IsDone(group);
}

void World::Wait(const Group& group) {
  std::unique_lock lock(mu_);
  changed_.wait(lock, [&] { return IsDone(group) || ranks_[group.front()->rank].aborted; });
}

void World::Abort(int rank) {
  const std::lock_guard lock(mu_);
  ranks_[rank].aborted = true;
  ranks_[rank].groups.clear();
  for (auto& [number, ops] : collectives_) ops[rank] = nullptr;
  for (auto* queues : {&sends_, &recvs_}) {
    for (auto& [pair, ops] : *queues)
      std::erase_if(ops, [&](const std::shared_ptr<Op>& op) { return op->rank == rank; });
  }
  changed_.notify_all();
}

}  // namespace switchyard::fake_nccl
