// What the requests of one API key have used, and what they may use now.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/access/api_key.h"

namespace switchyard {

// Since the server started.
struct KeyUsage {
  std::string name;
  int64_t running = 0;  // requests now
  uint64_t requests = 0;
  uint64_t refused_concurrency = 0;
  uint64_t refused_tokens = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generation_tokens = 0;
};

// Why a request must wait: 429 or RESOURCE_EXHAUSTED.
struct KeyRefusal {
  std::string message;  // with the numbers
  int retry_after_seconds = 1;
};

class KeyTicket;

// The rate is a bucket that holds one minute's tokens and is refilled evenly. A request needs its prompt's tokens in it
// (or a full bucket, if its prompt is longer than that) and takes them; the tokens of its answer are taken as they come
// and may leave a debt, which new requests wait for.
//
// Thread safety: every member from any thread. Always held shared: tickets keep it alive.
class KeyAccount : public std::enable_shared_from_this<KeyAccount> {
 public:
  KeyAccount(std::string name, const KeyLimits& limits) : name_(std::move(name)), limits_(limits) {}
  KeyAccount(const KeyAccount&) = delete;
  KeyAccount& operator=(const KeyAccount&) = delete;

  const std::string& name() const { return name_; }
  // Keeps what is used.
  void SetLimits(const KeyLimits& limits);

  // Null, and why in `refusal`, if the request would be over a limit.
  std::unique_ptr<KeyTicket> Admit(int64_t prompt_tokens, KeyRefusal* refusal, absl::Time now = absl::Now());
  KeyUsage usage() const;

 private:
  friend class KeyTicket;
  void Charge(int64_t tokens, absl::Time now);
  void Release();
  void Refill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string name_;

  mutable absl::Mutex mu_;
  KeyLimits limits_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Time> refilled_ ABSL_GUARDED_BY(mu_);  // none: the bucket is full
  double tokens_ ABSL_GUARDED_BY(mu_) = 0;                   // in the bucket, with a rate limit
  KeyUsage usage_ ABSL_GUARDED_BY(mu_);
};

// One request in flight; destroying it ends the request's part in max_concurrent. Thread safety: as KeyAccount.
class KeyTicket {
 public:
  explicit KeyTicket(std::shared_ptr<KeyAccount> account) : account_(std::move(account)) {}
  ~KeyTicket() { account_->Release(); }
  KeyTicket(const KeyTicket&) = delete;
  KeyTicket& operator=(const KeyTicket&) = delete;

  // So many tokens were generated.
  void Charge(int64_t tokens, absl::Time now = absl::Now()) { account_->Charge(tokens, now); }

 private:
  const std::shared_ptr<KeyAccount> account_;
};

}  // namespace switchyard
