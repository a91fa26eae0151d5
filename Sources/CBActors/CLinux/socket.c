#define _GNU_SOURCE
#include "CLinux.h"
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) ? -errno : 0;
}

int cb_bind(int fd, const struct cb_endpoint *local, bool six) {
  union cb_sockaddr a;
  socklen_t length = cb_sockaddr_store(&a, local, six);
  if (length == 0) return -EAFNOSUPPORT;
  return bind(fd, &a.any, length) ? -errno : 0;
}

int cb_udp_open(const struct cb_endpoint *local, const struct cb_endpoint *remote, const struct cb_udp_options *o) {
  bool six = local->family == 6;
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int error = 0;
  if (six) {
    if (!error) error = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !o->dual_stack);
    if (!error) error = set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (!error) error = set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    if (!error) error = set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    if (!error) error = set(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
  } else if (!error) {
    error = set(fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
  if (!six || o->dual_stack) {
    if (!error) error = set(fd, IPPROTO_IP, IP_RECVTOS, 1);
    if (!error) error = set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  }
  if (!error && o->receive_hop_limit && six) error = set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
  if (!error && o->receive_hop_limit && (!six || o->dual_stack)) error = set(fd, IPPROTO_IP, IP_RECVTTL, 1);
  if (!error && o->hop_limit && six) error = set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, o->hop_limit);
  if (!error && o->hop_limit && !six) error = set(fd, IPPROTO_IP, IP_TTL, o->hop_limit);
  if (!error && o->reuse_port) error = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (!error && o->receive_offload) error = set(fd, IPPROTO_UDP, UDP_GRO, 1);
  if (!error && o->buffer_bytes > 0) {
    // Past rmem_max only with CAP_NET_ADMIN; without it as much as the system allows.
    if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, o->buffer_bytes)) set(fd, SOL_SOCKET, SO_RCVBUF, o->buffer_bytes);
    if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, o->buffer_bytes)) set(fd, SOL_SOCKET, SO_SNDBUF, o->buffer_bytes);
  }
  if (!error) error = cb_bind(fd, local, six);
  if (!error && remote->family) {
    union cb_sockaddr a;
    socklen_t length = cb_sockaddr_store(&a, remote, six);
    if (length == 0) error = -EAFNOSUPPORT;
    else if (connect(fd, &a.any, length)) error = -errno;
  }
  if (error) {
    close(fd);
    return error;
  }
  return fd;
}

int cb_udp_steer(int fd, unsigned count) {
  // The program sees the UDP payload, and a load past its end returns 0. What names no socket is spread by address.
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
      // RFC 8999: a long header has the ID behind version and length, a short one at once.
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 2),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
      BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x1f),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) ? -errno : 0;
}

int cb_tcp_open(bool six) {
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return fd < 0 ? -errno : fd;
}

int cb_tcp_bind(const struct cb_endpoint *local, bool reuse_port, bool dual_stack) {
  bool six = local->family == 6;
  int fd = cb_tcp_open(six);
  if (fd < 0) return fd;
  int error = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (!error && six) error = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual_stack);
  if (!error && reuse_port) error = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (!error) error = cb_bind(fd, local, six);
  if (error) {
    close(fd);
    return error;
  }
  return fd;
}

int cb_listen(int fd, int backlog) { return listen(fd, backlog) ? -errno : 0; }

int cb_tcp_signature(int fd, const struct cb_endpoint *peer, bool six, const void *key, size_t length) {
  struct tcp_md5sig signature;
  memset(&signature, 0, sizeof signature);
  if (length > sizeof signature.tcpm_key) return -EINVAL;
  union cb_sockaddr a;
  socklen_t size = cb_sockaddr_store(&a, peer, six);
  if (size == 0) return -EAFNOSUPPORT;
  memcpy(&signature.tcpm_addr, &a, size);
  signature.tcpm_keylen = length;
  memcpy(signature.tcpm_key, key, length);
  int result = setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &signature, sizeof signature) ? -errno : 0;
  explicit_bzero(&signature, sizeof signature);
  return result;
}

int cb_ttl_greatest(int fd, bool six) {
  return six ? set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255) : set(fd, IPPROTO_IP, IP_TTL, 255);
}

int cb_ttl_required(int fd, bool six) {
  return six ? set(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, 255) : set(fd, IPPROTO_IP, IP_MINTTL, 255);
}

int cb_local_endpoint(int fd, struct cb_endpoint *out) {
  union cb_sockaddr a;
  socklen_t length = sizeof a;
  if (getsockname(fd, &a.any, &length)) return -errno;
  cb_sockaddr_load(out, &a, length);
  return 0;
}

int cb_remote_endpoint(int fd, struct cb_endpoint *out) {
  union cb_sockaddr a;
  socklen_t length = sizeof a;
  if (getpeername(fd, &a.any, &length)) return -errno;
  cb_sockaddr_load(out, &a, length);
  return 0;
}

void cb_linger_none(int fd) {
  struct linger none = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void cb_no_delay(int fd) { set(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

long cb_send(int fd, const void *bytes, size_t count) {
  ssize_t sent;
  do sent = send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

int cb_shutdown_write(int fd) { return shutdown(fd, SHUT_WR) ? -errno : 0; }

int cb_signal_descriptor(uint64_t mask) {
  sigset_t set;
  sigemptyset(&set);
  for (int number = 1; number <= 64; number++)
    if (mask >> (number - 1) & 1) sigaddset(&set, number);
  int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (error) return -error;
  int fd = signalfd(-1, &set, SFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}
