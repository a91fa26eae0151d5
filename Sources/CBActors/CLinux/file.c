#include "cb_file.h"
#include <errno.h>
#include <sys/stat.h>

int cb_file_status(int descriptor, uint32_t *mode, uint32_t *owner) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return -errno;
  *mode = status.st_mode;
  *owner = status.st_uid;
  return 0;
}
