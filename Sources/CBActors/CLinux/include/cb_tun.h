// TUN devices and the network namespaces that they live in.
#pragma once

// Creates a TUN device called `name` (empty: the kernel chooses one) in the network namespace of the file `netns`
// (NULL: the caller's), without packet information, non-blocking. Returns its descriptor or a negative errno; the
// calling thread is in the namespace it was in before.
int cb_tun_open(const char *netns, const char *name);
