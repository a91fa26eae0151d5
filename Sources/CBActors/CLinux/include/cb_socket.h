// Socket addresses and options.
#pragma once
#include <endian.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

// An address and a port in host byte order. `family` is 4, 6 or 0 for none; an IPv4 address is in `low`.
struct cb_endpoint {
  uint64_t high, low;
  uint32_t scope;
  uint16_t port;
  uint8_t family;
};

union cb_sockaddr {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static inline void cb_in6_store(struct in6_addr *to, uint64_t high, uint64_t low) {
  uint64_t words[2] = {htobe64(high), htobe64(low)};
  memcpy(to, words, sizeof words);
}

// An IPv4-mapped IPv6 address becomes the IPv4 address that it carries (RFC 4291 §2.5.5.2).
static inline void cb_in6_load(struct cb_endpoint *e, const void *from) {
  uint64_t words[2];
  memcpy(words, from, sizeof words);
  e->high = be64toh(words[0]);
  e->low = be64toh(words[1]);
  e->family = 6;
  if (e->high == 0 && e->low >> 32 == 0xffff) {
    e->low &= 0xffffffff;
    e->family = 4;
  }
}

// Writes `e` for a socket of IPv6 (IPv4 is then mapped) or of IPv4; the length written, or 0 for an
// IPv6 address on an IPv4 socket.
static inline socklen_t cb_sockaddr_store(union cb_sockaddr *to, const struct cb_endpoint *e, bool six) {
  if (six) {
    memset(&to->v6, 0, sizeof to->v6);
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons(e->port);
    to->v6.sin6_scope_id = e->scope;
    if (e->family == 4) cb_in6_store(&to->v6.sin6_addr, 0, 0xffff00000000u | e->low);
    else cb_in6_store(&to->v6.sin6_addr, e->high, e->low);
    return sizeof to->v6;
  }
  if (e->family != 4) return 0;
  memset(&to->v4, 0, sizeof to->v4);
  to->v4.sin_family = AF_INET;
  to->v4.sin_port = htons(e->port);
  to->v4.sin_addr.s_addr = htonl((uint32_t)e->low);
  return sizeof to->v4;
}

static inline void cb_sockaddr_load(struct cb_endpoint *e, const void *from, socklen_t length) {
  memset(e, 0, sizeof *e);
  sa_family_t family;
  if (length < sizeof family) return;
  memcpy(&family, from, sizeof family);
  if (family == AF_INET && length >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in v4;
    memcpy(&v4, from, sizeof v4);
    e->family = 4;
    e->port = ntohs(v4.sin_port);
    e->low = ntohl(v4.sin_addr.s_addr);
  } else if (family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
    struct sockaddr_in6 v6;
    memcpy(&v6, from, sizeof v6);
    cb_in6_load(e, &v6.sin6_addr);
    e->port = ntohs(v6.sin6_port);
    if (e->family == 6) e->scope = v6.sin6_scope_id;
  }
}

// A new descriptor, close-on-exec, or a negative errno. None is set non-blocking: the ring arms a poll by
// itself, and with O_NONBLOCK some kernels would complete with EAGAIN instead.
struct cb_udp_options {
  bool reuse_port, dual_stack, receive_offload;
  // Whether each datagram is told with its TTL or hop limit; and what is sent with: 0 leaves the system's.
  bool receive_hop_limit;
  uint8_t hop_limit;
  int buffer_bytes;
};
int cb_udp_open(const struct cb_endpoint *local, const struct cb_endpoint *remote, const struct cb_udp_options *o);
// Spreads the QUIC datagrams of the sockets that share `fd`'s port (SO_REUSEPORT) by connection ID: each goes to the
// socket of that number, in the order in which they were bound, which the low five bits of the ID's first byte are
// modulo `count`, once HalfSipHash of the next three bytes under `key` is taken off them. Zero or a negative errno.
int cb_udp_steer(int fd, unsigned count, uint64_t key);
int cb_tcp_open(bool six);
// Bound, and not listening yet: what protects a connection is set before one can come.
int cb_tcp_bind(const struct cb_endpoint *local, bool reuse_port, bool dual_stack);
int cb_listen(int fd, int backlog);
// RFC 2385: segments from and to `peer` must carry this key's signature. Before connect or listen.
int cb_tcp_signature(int fd, const struct cb_endpoint *peer, bool six, const void *key, size_t length);
// RFC 5925: the same by a MAC of one of the kernel's algorithms, such as "hmac(sha1)". -ENOPROTOOPT where it has none.
int cb_tcp_authentication(
    int fd, const struct cb_endpoint *peer, bool six, const char *algorithm, uint8_t send_id, uint8_t receive_id,
    const void *key, size_t length);
// RFC 5082: sends with a TTL or hop limit of 255. Before connect or listen.
int cb_ttl_greatest(int fd, bool six);
// RFC 5082: takes nothing that came with a TTL or hop limit of less than 255.
int cb_ttl_required(int fd, bool six);
int cb_bind(int fd, const struct cb_endpoint *local, bool six);
int cb_local_endpoint(int fd, struct cb_endpoint *out);
int cb_remote_endpoint(int fd, struct cb_endpoint *out);
// SO_LINGER of zero seconds: closing sends RST.
void cb_linger_none(int fd);
void cb_no_delay(int fd);
// What there is to read, 0 at the end, or a negative errno; never blocks.
long cb_recv(int fd, void *bytes, size_t count);
// A descriptor that is readable while `fd` is, and does not hold it open.
int cb_epoll_of(int fd);
// The byte count taken or a negative errno; never blocks, never raises SIGPIPE.
long cb_send(int fd, const void *bytes, size_t count);
int cb_shutdown_write(int fd);

// A descriptor that reads the signals of `mask` (bit n-1 is signal n), which are blocked for the
// calling thread and those that it starts later.
int cb_signal_descriptor(uint64_t mask);
