#define _GNU_SOURCE
#include "cb_tun.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int open_here(const char *name) {
  int descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(descriptor, TUNSETIFF, &request) < 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}

int cb_tun_open(const char *netns, const char *name) {
  if (netns == NULL) return open_here(name);
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return -errno;
  int there = open(netns, O_RDONLY | O_CLOEXEC);
  int result = there < 0 ? -errno : 0;
  if (result == 0 && setns(there, CLONE_NEWNET) < 0) result = -errno;
  if (result == 0) {
    result = open_here(name);
    // A thread that cannot come home again must not go on as if it had.
    if (setns(home, CLONE_NEWNET) < 0) {
      int error = errno;
      if (result >= 0) close(result);
      result = -error;
    }
  }
  if (there >= 0) close(there);
  close(home);
  return result;
}
