#define _GNU_SOURCE
#include "cb_wait.h"
#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

int cb_poll(struct pollfd *descriptors, unsigned count, int64_t nanoseconds) {
  struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  int ready = ppoll(descriptors, count, &time, NULL);
  return ready < 0 ? -errno : ready;
}

int cb_timer_slack(unsigned long nanoseconds) { return prctl(PR_SET_TIMERSLACK, nanoseconds) < 0 ? -errno : 0; }
