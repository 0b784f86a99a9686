/* Makes the wall clock of a program jump: preloaded, it adds a year to CLOCK_REALTIME once the file of JUMP_FILE is
   there, and takes one away once it is longer than nothing. The monotonic clock stays as it is. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *file = getenv("JUMP_FILE");
    struct stat found;
    if (clock == CLOCK_REALTIME && file && stat(file, &found) == 0)
        now->tv_sec += found.st_size > 0 ? -365 * 86400L : 365 * 86400L;
    return result;
}
