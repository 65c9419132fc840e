// Finds out within seconds that another process of the server is gone or stands still. One that dies closes its
// connections; one that is stopped, hangs in its kernel or is cut off closes nothing, and its ranks may also just be
// busy: so each process shows from a thread of its own that it is alive.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "parallel/communicator.h"

namespace switchyard {

class Heartbeat {
 public:
  // Beats every `period` through `processes`, whose time limit is how long another process may be silent; both are
  // borrowed. Where that fails, `on_loss` is called once, from the heart's thread, with UNAVAILABLE that names the
  // process. Null `processes`: there are no others.
  Heartbeat(Communicator* processes, absl::Duration period, std::function<void(const absl::Status&)> on_loss);
  // Tells the others that this process leaves on purpose; takes up to a period, or the time limit where one is silent.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

 private:
  void Beat(Communicator& processes, absl::Duration period);

  const std::function<void(const absl::Status&)> on_loss_;
  std::mutex mu_;
  std::condition_variable leave_;
  bool leaving_ = false;  // guarded by mu_
  std::thread thread_;
};

}  // namespace switchyard
