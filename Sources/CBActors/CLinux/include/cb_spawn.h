// Programs of others.
#pragma once

// Starts the program `argv[0]`, a path, in a process group of its own, with no signal blocked or ignored. `standard` are
// its input, output and errors; where one is -1: nothing to read, its output thrown away, its errors on ours. Its process
// ID or a negative errno. Returns when the program has been loaded, which a slow disk may draw out.
int cb_spawn(char *const argv[], char *const envp[], const int standard[3]);
// A descriptor that has something to read when the child has ended (pidfd_open), or a negative errno.
int cb_process_descriptor(int child);
// The exit status of a child that has ended, or 256 and the signal that ended it. -EAGAIN where it runs.
int cb_process_status(int child);
// Kills the child's whole process group.
void cb_process_kill(int child);
