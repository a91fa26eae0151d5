// The thread of a ring: which one this is, its name and processor, its clock, and how it is woken.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// The ring whose thread this is, or null. One thread-local load, no call into a runtime.
extern _Thread_local const void *cb_current_ring_storage __attribute__((tls_model("initial-exec")));
static inline const void *cb_current_ring(void) { return cb_current_ring_storage; }
static inline void cb_set_current_ring(const void *ring) { cb_current_ring_storage = ring; }

// Jobs that the concurrency runtime would give to its global pool, and that are enqueued on a ring's
// thread, go to `enqueue` instead. Process-wide, once; an earlier hook keeps the other threads' jobs.
void cb_keep_global_jobs(void (*enqueue)(const void *ring, void *job));

// A negative `cpu` leaves the thread where the scheduler likes it. Zero or a negative errno.
int cb_thread_setup(const char *name, int cpu);
int64_t cb_monotonic_nanoseconds(void);
int64_t cb_thread_cpu_nanoseconds(void);
int cb_eventfd(void);
void cb_eventfd_signal(int fd);
static inline void cb_cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
