#define _GNU_SOURCE
#include "CLinux.h"
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <unistd.h>

int cb_route_watch(void) {
  const uint32_t groups[] = {
      RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE,
  };
  int fd = cb_netlink_open(groups, sizeof groups / sizeof *groups, 0);
  // What is lost for want of room is no error: there is enough to read to say that something changed.
  int yes = 1;
  if (fd >= 0) setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes);
  return fd;
}

void cb_route_drain(int fd) {
  char bytes[8192];
  while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR) continue;
}

int cb_route_source(const struct cb_endpoint *remote, struct cb_endpoint *out) {
  bool six = remote->family == 6;
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  union cb_sockaddr address;
  socklen_t length = cb_sockaddr_store(&address, remote, six);
  // Connecting a UDP socket sends nothing: it looks the route up.
  int error = connect(fd, &address.any, length) ? -errno : cb_local_endpoint(fd, out);
  close(fd);
  return error;
}

unsigned cb_route_interface(const struct cb_endpoint *address) {
  struct ifaddrs *all;
  if (getifaddrs(&all)) return 0;
  unsigned found = 0;
  for (struct ifaddrs *one = all; one && !found; one = one->ifa_next) {
    unsigned needed = IFF_UP | IFF_RUNNING;
    if (!one->ifa_addr || (one->ifa_flags & needed) != needed) continue;
    bool six = one->ifa_addr->sa_family == AF_INET6;
    if (!six && one->ifa_addr->sa_family != AF_INET) continue;
    struct cb_endpoint its;
    cb_sockaddr_load(&its, one->ifa_addr, six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    if (its.family == address->family && its.high == address->high && its.low == address->low)
      found = if_nametoindex(one->ifa_name);
  }
  freeifaddrs(all);
  return found;
}
