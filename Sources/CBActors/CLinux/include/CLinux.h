// What Swift cannot reach of Linux by itself: liburing's inline functions, control messages, and
// the runtime's enqueue hook. What runs per packet is inline here.
#pragma once
// Settles the C library's feature macros before liburing.h asks for _XOPEN_SOURCE: its types must look
// here as they look in Swift's own Glibc module. So no _GNU_SOURCE in a header either.
#include <features.h>

#include "cb_datagram.h"
#include "cb_executor.h"
#include "cb_file.h"
#include "cb_netlink.h"
#include "cb_ring.h"
#include "cb_route.h"
#include "cb_socket.h"
#include "cb_spawn.h"
#include "cb_tun.h"
#include "cb_wait.h"
