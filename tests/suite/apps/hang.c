/* Opening a file of a folder named "hung" takes for ever, as on a mount whose server is dead: preloaded. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

int open64(const char *path, int flags, ...) {
    static int (*next)(const char *, int, ...);
    va_list rest;
    mode_t mode;

    while (strstr(path, "/hung/"))
        pause();
    if (!next)
        next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_start(rest, flags);
    mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return next(path, flags, mode);
}
