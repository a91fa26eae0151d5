#define _GNU_SOURCE
#include "CLinux.h"
#include <linux/netlink.h>
#include <unistd.h>

int cb_netlink_open(const uint32_t *groups, unsigned count, int buffer_bytes) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  // Past rmem_max only with CAP_NET_ADMIN; without it as much as the system allows.
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  int on = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  struct sockaddr_nl self = {.nl_family = AF_NETLINK};
  int error = bind(fd, (struct sockaddr *)&self, sizeof self) ? -errno : 0;
  for (unsigned i = 0; !error && i < count; i++)
    if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof groups[i])) error = -errno;
  if (error) {
    close(fd);
    return error;
  }
  return fd;
}
