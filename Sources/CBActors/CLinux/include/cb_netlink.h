// rtnetlink sockets.
#pragma once
#include <stdint.h>

// A socket of the calling thread's network namespace that has joined `groups` (RTNLGRP_*), with extended ACKs, capped
// errors and strict checks of what dumps ask for where the kernel has them, and `buffer_bytes` for what it receives.
// Close-on-exec. A descriptor or a negative errno.
int cb_netlink_open(const uint32_t *groups, unsigned count, int buffer_bytes);
