#define _GNU_SOURCE
#include "CLinux.h"
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
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

// A program of classic BPF as it is written. Its sixteen words of memory hold the state of HalfSipHash first.
struct bpf_writer {
  struct sock_filter code[512];
  unsigned short length;
};
enum { V0, V1, V2, V3, WORD, BLOCK };

static void put(struct bpf_writer *w, unsigned short code, unsigned k) {
  w->code[w->length++] = (struct sock_filter)BPF_STMT(code, k);
}

// a = a (operation) b
static void combine(struct bpf_writer *w, unsigned short operation, unsigned a, unsigned b) {
  put(w, BPF_LD | BPF_MEM, a);
  put(w, BPF_LDX | BPF_MEM, b);
  put(w, BPF_ALU | operation | BPF_X, 0);
  put(w, BPF_ST, a);
}

static void rotate(struct bpf_writer *w, unsigned a, unsigned bits) {
  put(w, BPF_LD | BPF_MEM, a);
  put(w, BPF_ALU | BPF_LSH | BPF_K, bits);
  put(w, BPF_MISC | BPF_TAX, 0);
  put(w, BPF_LD | BPF_MEM, a);
  put(w, BPF_ALU | BPF_RSH | BPF_K, 32 - bits);
  put(w, BPF_ALU | BPF_OR | BPF_X, 0);
  put(w, BPF_ST, a);
}

static void half_sip_round(struct bpf_writer *w) {
  combine(w, BPF_ADD, V0, V1);
  rotate(w, V1, 5);
  combine(w, BPF_XOR, V1, V0);
  rotate(w, V0, 16);
  combine(w, BPF_ADD, V2, V3);
  rotate(w, V3, 8);
  combine(w, BPF_XOR, V3, V2);
  combine(w, BPF_ADD, V0, V3);
  rotate(w, V3, 7);
  combine(w, BPF_XOR, V3, V0);
  combine(w, BPF_ADD, V2, V1);
  rotate(w, V1, 13);
  combine(w, BPF_XOR, V1, V2);
  rotate(w, V2, 16);
}

static void store(struct bpf_writer *w, unsigned a, unsigned value) {
  put(w, BPF_LD | BPF_IMM, value);
  put(w, BPF_ST, a);
}

int cb_udp_steer(int fd, unsigned count, uint64_t key) {
  struct bpf_writer w = {.length = 0};
  // The program sees the UDP payload, and a load past its end returns 0. What names no socket is spread by address.
  put(&w, BPF_LD | BPF_B | BPF_ABS, 0);
  // RFC 8999: a long header has the ID behind version and length, a short one at once.
  w.code[w.length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 2);
  put(&w, BPF_LD | BPF_W | BPF_ABS, 6);
  put(&w, BPF_JMP | BPF_JA, 1);
  put(&w, BPF_LD | BPF_W | BPF_ABS, 1);
  put(&w, BPF_ST, WORD);
  // HalfSipHash-2-4 of the three bytes behind the first, as PacketCrypto's HalfSipHash has it.
  put(&w, BPF_ALU | BPF_AND | BPF_K, 0x00ffffff);
  put(&w, BPF_ALU | BPF_OR | BPF_K, 3u << 24);
  put(&w, BPF_ST, BLOCK);
  unsigned low = (unsigned)key, high = (unsigned)(key >> 32);
  store(&w, V0, low);
  store(&w, V1, high);
  store(&w, V2, 0x6c796765 ^ low);
  store(&w, V3, 0x74656462 ^ high);
  combine(&w, BPF_XOR, V3, BLOCK);
  for (int i = 0; i < 2; i++) half_sip_round(&w);
  combine(&w, BPF_XOR, V0, BLOCK);
  put(&w, BPF_LD | BPF_MEM, V2);
  put(&w, BPF_ALU | BPF_XOR | BPF_K, 0xff);
  put(&w, BPF_ST, V2);
  for (int i = 0; i < 4; i++) half_sip_round(&w);
  combine(&w, BPF_XOR, V1, V3);
  // That is the mask of the low five bits of the first byte.
  put(&w, BPF_LD | BPF_MEM, WORD);
  put(&w, BPF_ALU | BPF_RSH | BPF_K, 24);
  put(&w, BPF_LDX | BPF_MEM, V1);
  put(&w, BPF_ALU | BPF_XOR | BPF_X, 0);
  put(&w, BPF_ALU | BPF_AND | BPF_K, 0x1f);
  put(&w, BPF_ALU | BPF_MOD | BPF_K, count);
  put(&w, BPF_RET | BPF_A, 0);
  struct sock_fprog program = {w.length, w.code};
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

// linux/tcp.h since 6.7; older headers, which the program may be built with, lack it.
enum { CB_TCP_AO_ADD_KEY = 38, CB_TCP_AO_LONGEST_KEY = 80 };
struct cb_tcp_ao_add {
  struct sockaddr_storage address;
  char algorithm[64];
  int32_t interface;
  uint32_t set_current : 1, set_next : 1, reserved : 30;
  uint16_t padding;
  uint8_t prefix, send_id, receive_id, code_length, flags, key_length;
  uint8_t key[CB_TCP_AO_LONGEST_KEY];
} __attribute__((aligned(8)));

int cb_tcp_authentication(
    int fd, const struct cb_endpoint *peer, bool six, const char *algorithm, uint8_t send_id, uint8_t receive_id,
    const void *key, size_t length) {
  struct cb_tcp_ao_add add;
  memset(&add, 0, sizeof add);
  if (length > sizeof add.key || strlen(algorithm) >= sizeof add.algorithm) return -EINVAL;
  union cb_sockaddr a;
  socklen_t size = cb_sockaddr_store(&a, peer, six);
  if (size == 0) return -EAFNOSUPPORT;
  memcpy(&add.address, &a, size);
  // The kernel wants no port, and knows a link-local peer by its address alone.
  if (six) {
    ((struct sockaddr_in6 *)&add.address)->sin6_port = 0;
    ((struct sockaddr_in6 *)&add.address)->sin6_scope_id = 0;
  } else {
    ((struct sockaddr_in *)&add.address)->sin_port = 0;
  }
  strcpy(add.algorithm, algorithm);
  add.prefix = six ? 128 : 32;
  add.send_id = send_id;
  add.receive_id = receive_id;
  // RFC 5926 §3.1: both algorithms give 96 bits.
  add.code_length = 12;
  add.key_length = (uint8_t)length;
  memcpy(add.key, key, length);
  int result = setsockopt(fd, IPPROTO_TCP, CB_TCP_AO_ADD_KEY, &add, sizeof add) ? -errno : 0;
  explicit_bzero(&add, sizeof add);
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

long cb_recv(int fd, void *bytes, size_t count) {
  ssize_t received = recv(fd, bytes, count, MSG_DONTWAIT);
  return received < 0 ? -errno : received;
}

int cb_epoll_of(int fd) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return -errno;
  struct epoll_event event = {.events = EPOLLIN};
  int error = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
  if (error) close(epoll);
  return error ? -error : epoll;
}

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
