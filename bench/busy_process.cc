#include "bench/busy_process.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace switchyard {
namespace {

[[noreturn]] void SpinOnOneCore() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const sched_param ordinary = {};
  sched_setscheduler(0, SCHED_OTHER, &ordinary);
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof(allowed), &allowed);
  int first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  sched_setaffinity(0, sizeof(one), &one);
  for (std::atomic<unsigned> count = 0;;) count.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

BusyProcess::BusyProcess() : pid_(fork()) {
  if (pid_ == 0) SpinOnOneCore();
  if (pid_ < 0) {
    std::perror("fork");
    std::exit(1);
  }
}

BusyProcess::~BusyProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

}  // namespace switchyard
