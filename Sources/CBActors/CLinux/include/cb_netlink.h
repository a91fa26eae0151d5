// rtnetlink sockets.
#pragma once
#include <stdint.h>

// A socket of the calling thread's network namespace that has joined `groups` (RTNLGRP_*), with extended ACKs, capped
// errors and strict checks of what dumps ask for where the kernel has them, and `buffer_bytes` for what it receives.
// Close-on-exec. A descriptor or a negative errno.
int cb_netlink_open(const uint32_t *groups, unsigned count, int buffer_bytes);
// The address that the kernel knows it by, which requests of its bear (nlmsg_pid); 0 where it has none.
uint32_t cb_netlink_port(int fd);
// Of notifications, lets it have those of routes of one protocol that another socket than this one has caused.
int cb_netlink_keep_routes(int fd, uint8_t protocol, uint32_t other_than);
