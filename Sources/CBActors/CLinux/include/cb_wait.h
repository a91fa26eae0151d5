// Waiting to the nanosecond.
#pragma once
#include <poll.h>
#include <stdint.h>

// poll(2) with a time-out in nanoseconds. Returns how many descriptors are ready, or a negative errno.
int cb_poll(struct pollfd *descriptors, unsigned count, int64_t nanoseconds);

// How late the kernel may wake the calling thread, in nanoseconds. Zero or a negative errno.
int cb_timer_slack(unsigned long nanoseconds);
