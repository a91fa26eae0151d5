#define _GNU_SOURCE
#include "CLinux.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

_Thread_local const void *cb_current_ring_storage __attribute__((tls_model("initial-exec")));

// The runtime's own hook, as its header Concurrency.h declares it.
#define SWIFT_CC __attribute__((swiftcall))
typedef SWIFT_CC void (*enqueue_original)(void *job);
typedef SWIFT_CC void (*enqueue_hook)(void *job, enqueue_original original);
extern enqueue_hook swift_task_enqueueGlobal_hook;

static void (*keep)(const void *ring, void *job);
static enqueue_hook earlier;

static SWIFT_CC void enqueue_global(void *job, enqueue_original original) {
  const void *ring = cb_current_ring();
  if (ring) keep(ring, job);
  else if (earlier) earlier(job, original);
  else original(job);
}

void cb_keep_global_jobs(void (*enqueue)(const void *ring, void *job)) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  if (!keep) {
    keep = enqueue;
    earlier = swift_task_enqueueGlobal_hook;
    // Another thread may read the hook at once: what it leads to must be there before it.
    atomic_thread_fence(memory_order_seq_cst);
    swift_task_enqueueGlobal_hook = enqueue_global;
  }
  pthread_mutex_unlock(&lock);
}

int cb_thread_setup(const char *name, int cpu) {
  char shortened[16] = {0};  // the kernel's limit, with the zero
  strncpy(shortened, name, sizeof shortened - 1);
  pthread_setname_np(pthread_self(), shortened);
  if (cpu < 0) return 0;
  if (cpu >= CPU_SETSIZE) return -EINVAL;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static int64_t nanoseconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
int64_t cb_monotonic_nanoseconds(void) { return nanoseconds(CLOCK_MONOTONIC); }
int64_t cb_thread_cpu_nanoseconds(void) { return nanoseconds(CLOCK_THREAD_CPUTIME_ID); }
int cb_eventfd(void) {
  int fd = eventfd(0, EFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}
void cb_eventfd_signal(int fd) {
  uint64_t one = 1;
  ssize_t ignored = write(fd, &one, sizeof one);  // fails only at 2^64-2 unread signals
  (void)ignored;
}
