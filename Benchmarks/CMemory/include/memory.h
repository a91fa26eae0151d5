#ifndef CB_BENCHMARK_MEMORY_H
#define CB_BENCHMARK_MEMORY_H

#include <malloc.h>
#include <stddef.h>

// All threads allocate from the main arena, the only one that the figures below are of. Before any thread is made.
static inline void cb_use_one_arena(void) { mallopt(M_ARENA_MAX, 1); }

// Bytes that the program has allocated and not freed, by the allocator's own account.
static inline size_t cb_live_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

#endif
