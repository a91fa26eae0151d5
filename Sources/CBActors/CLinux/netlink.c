#define _GNU_SOURCE
#include "CLinux.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <unistd.h>

int cb_netlink_open(const uint32_t *groups, unsigned count, int buffer_bytes) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  // Past rmem_max only with CAP_NET_ADMIN; without it as much as the system allows.
  if (buffer_bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof buffer_bytes))
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

uint32_t cb_netlink_port(int fd) {
  struct sockaddr_nl self = {0};
  socklen_t length = sizeof self;
  return getsockname(fd, (struct sockaddr *)&self, &length) ? 0 : self.nl_pid;
}

int cb_netlink_keep_routes(int fd, uint8_t protocol, uint32_t other_than) {
  // Integers of netlink are in the machine's order, a load of BPF is in the network's.
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(other_than), 4, 0),
    BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_flags)),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, htons(NLM_F_REPLACE), 3, 0),
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, protocol, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, 0),
    BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ? -errno : 0;
}
