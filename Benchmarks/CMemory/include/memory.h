#ifndef CB_BENCHMARK_MEMORY_H
#define CB_BENCHMARK_MEMORY_H

#include <malloc.h>
#include <stddef.h>

// Bytes that the program has allocated and not freed, by the allocator's own account.
static inline size_t cb_live_bytes(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

#endif
