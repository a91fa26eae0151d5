// What the kernel says of addresses and routes.
#pragma once
#include "cb_socket.h"

// A descriptor that has something to read when a link, an address or a route changed (rtnetlink(7)), or a negative errno.
int cb_route_watch(void);
// Reads all there is, and forgets it.
void cb_route_drain(int fd);
// The address that a packet to `remote` would leave from now. Zero or a negative errno.
int cb_route_source(const struct cb_endpoint *remote, struct cb_endpoint *out);
// The index of the interface that has this address and can carry packets; 0 when there is none.
unsigned cb_route_interface(const struct cb_endpoint *address);
