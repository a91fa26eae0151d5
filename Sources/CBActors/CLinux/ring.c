#define _GNU_SOURCE
#include "CLinux.h"
#include <sys/mman.h>

int cb_ring_setup(struct io_uring *ring, unsigned entries, unsigned completions, unsigned *flags) {
  // Linux 6.1 has deferred task work, 6.0 a single issuer, 5.19 cooperative task work. Older kernels
  // answer EINVAL to what they do not know.
  const unsigned tries[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
  };
  int result = -EINVAL;
  for (unsigned i = 0; i < sizeof tries / sizeof tries[0] && result == -EINVAL; i++) {
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    p.flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    p.cq_entries = completions;
    result = io_uring_queue_init_params(entries, ring, &p);
    if (result == 0) *flags = p.flags;
  }
  if (result == 0) io_uring_register_ring_fd(ring);  // only saves a look-up; its failure costs nothing else
  return result;
}

int cb_buffers_setup(struct io_uring *ring, struct cb_buffers *b, unsigned count, unsigned size, uint16_t group) {
  memset(b, 0, sizeof *b);
  size_t table = count * sizeof(struct io_uring_buf), bytes = (size_t)count * size;
  void *entries = mmap(NULL, table, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (entries == MAP_FAILED) return -errno;
  void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (base == MAP_FAILED) {
    int error = errno;
    munmap(entries, table);
    return -error;
  }
  struct io_uring_buf_reg r = {.ring_addr = (uint64_t)(uintptr_t)entries, .ring_entries = count, .bgid = group};
  int result = io_uring_register_buf_ring(ring, &r, 0);
  if (result) {
    munmap(entries, table);
    munmap(base, bytes);
    return result;
  }
  *b = (struct cb_buffers){.ring = entries, .base = base, .count = count, .size = size, .group = group,
                           .mask = io_uring_buf_ring_mask(count)};
  io_uring_buf_ring_init(b->ring);
  for (unsigned i = 0; i < count; i++) cb_buffers_give_back(b, (uint16_t)i);
  return 0;
}

void cb_buffers_free(struct cb_buffers *b) {
  if (!b->ring) return;
  munmap(b->ring, b->count * sizeof(struct io_uring_buf));
  munmap(b->base, (size_t)b->count * b->size);
  memset(b, 0, sizeof *b);
}
