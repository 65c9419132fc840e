// Another process that wants a core, as on a shared machine.
#pragma once

#include <sys/types.h>

namespace switchyard {

// Runs an endless loop on the first processor that this process may use, under the ordinary scheduling policy, while it
// lives.
class BusyProcess {
 public:
  BusyProcess();
  BusyProcess(const BusyProcess&) = delete;
  BusyProcess& operator=(const BusyProcess&) = delete;
  ~BusyProcess();

 private:
  pid_t pid_ = 0;
};

}  // namespace switchyard
