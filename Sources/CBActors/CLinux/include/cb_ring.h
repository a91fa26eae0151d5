// io_uring through liburing 2.3 (Debian 12). A newer constant is defined by hand where it is used.
#pragma once
#include <features.h>
#include <errno.h>
#include "cb_liburing.h"
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Sets a ring up with the best flags that the kernel knows, and says in *flags which those are.
// Zero or a negative errno.
int cb_ring_setup(struct io_uring *ring, unsigned entries, unsigned completions, unsigned *flags);

static inline void cb_ring_exit(struct io_uring *ring) { io_uring_queue_exit(ring); }
static inline int cb_ring_submit(struct io_uring *ring) { return io_uring_submit(ring); }
static inline int cb_ring_submit_and_poll(struct io_uring *ring) { return io_uring_submit_and_get_events(ring); }

// Submits, then waits for one completion or for `nanoseconds`; a negative number waits for ever.
static inline int cb_ring_submit_and_wait(struct io_uring *ring, int64_t nanoseconds) {
  struct io_uring_cqe *first;
  if (nanoseconds < 0) return io_uring_submit_and_wait_timeout(ring, &first, 1, NULL, NULL);
  struct __kernel_timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  return io_uring_submit_and_wait_timeout(ring, &first, 1, &limit, NULL);
}

static inline struct io_uring_sqe *cb_ring_sqe(struct io_uring *ring) { return io_uring_get_sqe(ring); }
static inline unsigned cb_ring_peek(struct io_uring *ring, struct io_uring_cqe **out, unsigned count) {
  return io_uring_peek_batch_cqe(ring, out, count);
}
static inline void cb_ring_advance(struct io_uring *ring, unsigned count) { io_uring_cq_advance(ring, count); }
static inline unsigned cb_ring_ready(struct io_uring *ring) { return io_uring_cq_ready(ring); }

// Completion flags.
static inline bool cb_cqe_more(uint32_t flags) { return flags & IORING_CQE_F_MORE; }
static inline bool cb_cqe_has_buffer(uint32_t flags) { return flags & IORING_CQE_F_BUFFER; }
static inline uint16_t cb_cqe_buffer(uint32_t flags) { return (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT); }

// Preparations. Each leaves user_data to the caller.
static inline void cb_prep_read(struct io_uring_sqe *s, int fd, void *bytes, unsigned count) {
  io_uring_prep_read(s, fd, bytes, count, 0);
}
static inline void cb_prep_poll_multishot(struct io_uring_sqe *s, int fd, unsigned events) {
  io_uring_prep_poll_multishot(s, fd, events);
}
static inline void cb_prep_poll(struct io_uring_sqe *s, int fd, unsigned events) {
  io_uring_prep_poll_add(s, fd, events);
}
static inline void cb_prep_recvmsg_multishot(struct io_uring_sqe *s, int fd, struct msghdr *header, uint16_t group) {
  io_uring_prep_recvmsg_multishot(s, fd, header, 0);
  s->flags |= IOSQE_BUFFER_SELECT;
  s->buf_group = group;
}
static inline void cb_prep_recv(struct io_uring_sqe *s, int fd, void *bytes, size_t count) {
  io_uring_prep_recv(s, fd, bytes, count, 0);
}
// The same by a thread of the kernel's: for a socket whose send works long, as netlink's does.
static inline void cb_prep_send_aside(struct io_uring_sqe *s, int fd, const void *bytes, size_t count) {
  io_uring_prep_send(s, fd, bytes, count, MSG_NOSIGNAL);
  s->flags |= IOSQE_ASYNC;
}
static inline void cb_prep_send(struct io_uring_sqe *s, int fd, const void *bytes, size_t count) {
  io_uring_prep_send(s, fd, bytes, count, MSG_NOSIGNAL);
}
static inline void cb_prep_accept_multishot(struct io_uring_sqe *s, int fd) {
  io_uring_prep_multishot_accept(s, fd, NULL, NULL, SOCK_CLOEXEC);
}
static inline void cb_prep_cancel(struct io_uring_sqe *s, uint64_t user_data) {
  io_uring_prep_cancel64(s, user_data, 0);
}
static inline void cb_prep_nop(struct io_uring_sqe *s) { io_uring_prep_nop(s); }

// A group of equal buffers that the kernel draws from, and that are given back by number.
struct cb_buffers {
  struct io_uring_buf_ring *ring;
  uint8_t *base;
  unsigned count, size;
  int mask;
  uint16_t group;
};
// `count` is a power of two up to 32,768. Zero or a negative errno. Pages are touched when first used.
int cb_buffers_setup(struct io_uring *ring, struct cb_buffers *b, unsigned count, unsigned size, uint16_t group);
// After the ring is gone, or before: the kernel must no longer draw from the group.
void cb_buffers_free(struct cb_buffers *b);

static inline uint8_t *cb_buffers_at(const struct cb_buffers *b, uint16_t number) {
  return b->base + (size_t)number * b->size;
}
static inline void cb_buffers_give_back(struct cb_buffers *b, uint16_t number) {
  io_uring_buf_ring_add(b->ring, cb_buffers_at(b, number), b->size, number, b->mask, 0);
  io_uring_buf_ring_advance(b->ring, 1);
}
