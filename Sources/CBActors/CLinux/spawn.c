#define _GNU_SOURCE
#include "cb_spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int cb_spawn(char *const argv[], char *const envp[], const int standard[3]) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&files);
  if (error) return -error;
  error = posix_spawnattr_init(&attributes);
  if (error) {
    posix_spawn_file_actions_destroy(&files);
    return -error;
  }
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  for (int target = STDIN_FILENO; !error && target <= STDERR_FILENO; target++) {
    if (standard[target] >= 0) error = posix_spawn_file_actions_adddup2(&files, standard[target], target);
    else if (target != STDERR_FILENO) error = posix_spawn_file_actions_addopen(&files, target, "/dev/null", O_RDWR, 0);
  }
  if (!error) error = posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  if (!error) error = posix_spawnattr_setpgroup(&attributes, 0);
  if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = posix_spawnattr_setsigdefault(&attributes, &all);
  if (!error)
    error = posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  if (!error) error = posix_spawn(&child, argv[0], &files, &attributes, argv, envp);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error ? -error : child;
}

int cb_process_descriptor(int child) {
  int fd = (int)syscall(SYS_pidfd_open, child, 0);
  return fd < 0 ? -errno : fd;
}

int cb_process_status(int child) {
  int status;
  pid_t ended = waitpid(child, &status, WNOHANG);
  if (ended < 0) return -errno;
  if (ended == 0) return -EAGAIN;
  return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

void cb_process_kill(int child) { kill(-child, SIGKILL); }
