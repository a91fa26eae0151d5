// rtnetlink sockets.
#pragma once
#include <stdint.h>

// A socket of the calling thread's network namespace that has joined `groups` (RTNLGRP_*), with extended ACKs, capped
// errors and strict checks of what dumps ask for where the kernel has them, and `buffer_bytes` for what it receives; 0
// leaves that to the system. Close-on-exec. A descriptor or a negative errno.
int cb_netlink_open(const uint32_t *groups, unsigned count, int buffer_bytes);
// The address that the kernel knows it by, which requests of its bear (nlmsg_pid); 0 where it has none.
uint32_t cb_netlink_port(int fd);
// Of notifications of routes, lets it have those that another socket than `other_than` has caused: of one protocol, and of
// what has replaced a route, whose protocol may have been that.
int cb_netlink_keep_routes(int fd, uint8_t protocol, uint32_t other_than);
