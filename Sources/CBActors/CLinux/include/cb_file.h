// A file's mode and owner. Swift sees the members of `struct stat` through whichever C module included its
// header first, and that differs between incremental and whole-module builds.
#pragma once
#include <stdint.h>

// Zero or a negative errno.
int cb_file_status(int descriptor, uint32_t *mode, uint32_t *owner);
