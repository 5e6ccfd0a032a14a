/* Preloaded into kohort by tests/cli/failing.rs: the FAIL_AT-th call that creates, writes, syncs or renames something below
 * FAIL_FOLDER fails as it would on a full or broken disk, and FAIL_MARK is created to say that it came to that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int calls;

static int is_below(const char *path) {
    const char *folder = getenv("FAIL_FOLDER");
    if (!folder) return 0;
    /* The program runs in the folder: what is relative is below it. */
    return path[0] != '/' || strncmp(path, folder, strlen(folder)) == 0;
}

static int is_file_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return path[0] == '/' && is_below(path);
}

/* Whether it is this call's turn. */
static int fails(int error) {
    const char *at = getenv("FAIL_AT"), *mark = getenv("FAIL_MARK");
    if (!at || !mark || __sync_add_and_fetch(&calls, 1) != atoi(at)) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, mark, O_CREAT | O_WRONLY, 0600);
    if (fd >= 0) syscall(SYS_close, fd);
    errno = error;
    return 1;
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return is_file_below(fd) && fails(ENOSPC) ? -1 : real(fd, bytes, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return is_file_below(fd) && fails(ENOSPC) ? -1 : real(fd, parts, n);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return is_file_below(fd) && fails(ENOSPC) ? -1 : real(fd, bytes, n, at);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return is_file_below(fd) && fails(EIO) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return is_file_below(fd) && fails(EIO) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return is_below(to) && fails(EIO) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return is_below(path) && fails(ENOSPC) ? -1 : real(path, mode);
}

int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return flags & O_CREAT && is_below(path) && fails(ENOSPC) ? -1 : real(path, flags, mode);
}
