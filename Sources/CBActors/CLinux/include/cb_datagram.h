// Datagrams with their control messages: segmentation, source address, ECN.
#pragma once
#include "cb_ring.h"
#include "cb_socket.h"
#include <netinet/udp.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// struct in6_pktinfo of RFC 3542 §6.1, which the C library shows only to _GNU_SOURCE.
struct cb_in6_pktinfo {
  struct in6_addr address;
  unsigned interface;
};

// Room before the payload in a provided buffer: io_uring_recvmsg_out, the address, the control messages.
enum { CB_RECEIVE_CONTROL = 176, CB_RECEIVE_HEADROOM = 256 };

// The lengths that a multishot recvmsg is asked with; the kernel only reads it.
static inline void cb_receive_template(struct msghdr *header) {
  memset(header, 0, sizeof *header);
  header->msg_namelen = sizeof(struct sockaddr_in6);
  header->msg_controllen = CB_RECEIVE_CONTROL;
}

struct cb_received {
  struct cb_endpoint from, to;
  uint8_t *payload;
  uint32_t length, segment;
  uint8_t ecn;
  // -1 where it is not told.
  int16_t hop_limit;
  bool truncated;
};

// False when the kernel's header does not fit what was received.
static inline bool cb_receive_parse(void *buffer, int length, struct msghdr *header, struct cb_received *out) {
  struct io_uring_recvmsg_out *o = io_uring_recvmsg_validate(buffer, length, header);
  if (!o) return false;
  socklen_t name = o->namelen < header->msg_namelen ? o->namelen : header->msg_namelen;
  cb_sockaddr_load(&out->from, io_uring_recvmsg_name(o), name);
  memset(&out->to, 0, sizeof out->to);
  out->payload = (uint8_t *)io_uring_recvmsg_payload(o, header);
  out->length = io_uring_recvmsg_payload_length(o, length, header);
  out->segment = out->length;
  out->ecn = 0;
  out->hop_limit = -1;
  out->truncated = o->flags & (MSG_TRUNC | MSG_CTRUNC);
  for (struct cmsghdr *c = io_uring_recvmsg_cmsg_firsthdr(o, header); c;
       c = io_uring_recvmsg_cmsg_nexthdr(o, header, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int size;
      memcpy(&size, CMSG_DATA(c), sizeof size);
      if (size > 0 && (uint32_t)size < out->length) out->segment = (uint32_t)size;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      out->ecn = *CMSG_DATA(c) & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int class;
      memcpy(&class, CMSG_DATA(c), sizeof class);
      out->ecn = class & 3;
    } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
               (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)) {
      int limit;
      memcpy(&limit, CMSG_DATA(c), sizeof limit);
      out->hop_limit = (int16_t)(limit & 0xff);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      out->to.family = 4;
      out->to.low = ntohl(info.ipi_addr.s_addr);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct cb_in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      cb_in6_load(&out->to, &info.address);
      // RFC 4007 §6: a link-local address means something only with its interface.
      if (out->to.family == 6 && out->to.high >> 54 == 0xfe80u >> 6) out->to.scope = info.interface;
    }
  }
  return true;
}

// One message to send, with everything that the kernel reads until it is sent.
struct cb_message {
  struct msghdr header;
  struct iovec vector;
  union cb_sockaddr name;
  _Alignas(8) char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct cb_in6_pktinfo)) +
                           CMSG_SPACE(sizeof(uint16_t))];
};

// `to` or `source` of family 0 is left to the kernel; the scope of `source`, if not 0, is the interface to leave by.
// `segment` 0 sends one datagram. `four` says whether the datagrams leave as IPv4, which on a dual-stack socket decides the
// control messages.
static inline bool cb_message_fill(
    struct cb_message *m, void *bytes, size_t count, uint16_t segment, const struct cb_endpoint *to,
    const struct cb_endpoint *source, uint8_t ecn, bool four, bool six_socket) {
  memset(&m->header, 0, sizeof m->header);
  m->vector.iov_base = bytes;
  m->vector.iov_len = count;
  m->header.msg_iov = &m->vector;
  m->header.msg_iovlen = 1;
  if (to->family) {
    m->header.msg_namelen = cb_sockaddr_store(&m->name, to, six_socket);
    if (m->header.msg_namelen == 0) return false;
    m->header.msg_name = &m->name;
  }
  char *next = m->control;
  if (ecn) {
    struct cmsghdr *c = (struct cmsghdr *)next;
    c->cmsg_level = four ? IPPROTO_IP : IPPROTO_IPV6;
    c->cmsg_type = four ? IP_TOS : IPV6_TCLASS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    int value = ecn & 3;
    memcpy(CMSG_DATA(c), &value, sizeof value);
    next += CMSG_SPACE(sizeof(int));
  }
  if (source->family == 4 && four) {
    struct cmsghdr *c = (struct cmsghdr *)next;
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {.ipi_ifindex = (int)source->scope, .ipi_spec_dst.s_addr = htonl((uint32_t)source->low)};
    memcpy(CMSG_DATA(c), &info, sizeof info);
    next += CMSG_SPACE(sizeof(struct in_pktinfo));
  } else if (source->family == 6 && !four) {
    struct cmsghdr *c = (struct cmsghdr *)next;
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(struct cb_in6_pktinfo));
    struct cb_in6_pktinfo info = {.interface = source->scope};
    cb_in6_store(&info.address, source->high, source->low);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    next += CMSG_SPACE(sizeof(struct cb_in6_pktinfo));
  }
  if (segment) {
    struct cmsghdr *c = (struct cmsghdr *)next;
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    next += CMSG_SPACE(sizeof segment);
  }
  if (next != m->control) {
    m->header.msg_control = m->control;
    m->header.msg_controllen = (size_t)(next - m->control);
  }
  return true;
}

// The byte count or a negative errno; never blocks.
static inline long cb_message_send(int fd, const struct cb_message *m) {
  ssize_t sent;
  do sent = sendmsg(fd, &m->header, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

// Both of these take the whole object: Swift would hand a member's address only of a temporary.
static inline void cb_prep_message(struct io_uring_sqe *s, int fd, const struct cb_message *m) {
  io_uring_prep_sendmsg(s, fd, &m->header, MSG_NOSIGNAL);
}
static inline void cb_prep_connect(struct io_uring_sqe *s, int fd, const union cb_sockaddr *to, socklen_t length) {
  io_uring_prep_connect(s, fd, &to->any, length);
}
