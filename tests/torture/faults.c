/* Calls of the C library that change files below a folder are counted; the one that is armed fails, or kills.
 *
 * Loaded with LD_PRELOAD, so that it stands before whatever writes: Python, libraries in Rust or C++.
 * fault_arm(root, at, how): how > 0 is the errno with which call number `at` (from 1) fails, once; 0 counts alone;
 * -1 ends the process before the call; -2 ends it in the middle of it (a write of half the bytes) or after it;
 * -3 fails that call and all later ones with ENOSPC, where it needs room. fault_calls() says how many came.
 */
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
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length = 0;
static int at = 0, how = 0, calls = 0;
static int traced = -1;

#define KILLED 99
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void fault_arm(const char *folder, int number, int kind) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    at = number; how = kind; calls = 0;
}
int fault_calls(void) { return calls; }
void fault_disarm(void) { root_length = 0; }
void fault_trace(int descriptor) { traced = descriptor; }

static int below(const char *path) {
    char full[PATH_MAX];
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        if (snprintf(full, sizeof full, "%s/%s", here, path) >= (int)sizeof full) return 0;
        path = full;
    }
    return strncmp(path, root, root_length) == 0;
}

static int below_at(int folder, const char *path) {
    char link[64], found[PATH_MAX];
    ssize_t length;
    if (!root_length) return 0;
    if (path && (path[0] == '/' || folder == AT_FDCWD)) return below(path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, found, sizeof found - 1);
    if (length < 0) return 0;
    found[length] = 0;
    return below(found);
}

static void trace(const char *call, int descriptor, const char *path, const char *other) {
    char line[3 * PATH_MAX], link[64], found[PATH_MAX] = "";
    struct stat seen;
    unsigned long number = 0;
    int length;
    if (traced < 0) return;
    if (!path) {
        ssize_t read;
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        read = readlink(link, found, sizeof found - 1);
        found[read < 0 ? 0 : read] = 0;
        path = found;
    }
    if (descriptor >= 0 && fstat(descriptor, &seen) == 0) number = seen.st_ino;
    length = snprintf(line, sizeof line, "%s\t%s\t%s\t%lu\n", call, path, other ? other : "", number);
    if (REAL(write)(traced, line, length) < 0) _exit(98);
}

/* 1: this call is to fail with errno set; 2: it is to be cut in the middle; 0: it goes on. */
static int struck(int needs_room) {
    calls++;
    if (how == -3 && calls >= at && needs_room) { errno = ENOSPC; return 1; }
    if (calls != at || how == 0 || how == -3) return 0;
    if (how == -1) _exit(KILLED);
    if (how == -2) return 2;
    errno = how;
    return 1;
}

#define GUARD(condition, needs_room, failed, call)                                                                     \
    if (!(condition)) return call;                                                                                     \
    switch (struck(needs_room)) {                                                                                      \
    case 1: return failed;                                                                                             \
    case 2: (void)!call; _exit(KILLED);                                                                                \
    default: return call;                                                                                              \
    }

ssize_t write(int descriptor, const void *bytes, size_t count) {
    __typeof__(&write) real = REAL(write);
    if (!below_at(descriptor, NULL)) return real(descriptor, bytes, count);
    trace("write", descriptor, NULL, NULL);
    switch (struck(1)) {
    case 1: return -1;
    case 2: (void)!real(descriptor, bytes, count / 2); _exit(KILLED);
    default: return real(descriptor, bytes, count);
    }
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    __typeof__(&pwrite64) real = REAL(pwrite64);
    if (below_at(descriptor, NULL)) trace("write", descriptor, NULL, NULL);
    GUARD(below_at(descriptor, NULL), 1, -1, real(descriptor, bytes, count, offset))
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    __typeof__(&writev) real = REAL(writev);
    if (below_at(descriptor, NULL)) trace("write", descriptor, NULL, NULL);
    GUARD(below_at(descriptor, NULL), 1, -1, real(descriptor, parts, count))
}
int fsync(int descriptor) {
    __typeof__(&fsync) real = REAL(fsync);
    if (below_at(descriptor, NULL)) trace("sync", descriptor, NULL, NULL);
    GUARD(below_at(descriptor, NULL), 1, -1, real(descriptor))
}
int fdatasync(int descriptor) {
    __typeof__(&fdatasync) real = REAL(fdatasync);
    if (below_at(descriptor, NULL)) trace("sync", descriptor, NULL, NULL);
    GUARD(below_at(descriptor, NULL), 1, -1, real(descriptor))
}
int ftruncate64(int descriptor, off64_t size) {
    __typeof__(&ftruncate64) real = REAL(ftruncate64);
    GUARD(below_at(descriptor, NULL), 1, -1, real(descriptor, size))
}
int posix_fallocate64(int descriptor, off64_t offset, off64_t size) {
    __typeof__(&posix_fallocate64) real = REAL(posix_fallocate64);
    if (below_at(descriptor, NULL) && struck(1) == 1) return errno;
    return real(descriptor, offset, size);
}
int rename(const char *before, const char *after) {
    __typeof__(&rename) real = REAL(rename);
    if (below(before)) trace("rename", -1, before, after);
    GUARD(below(before), 1, -1, real(before, after))
}
int renameat(int one, const char *before, int other, const char *after) {
    __typeof__(&renameat) real = REAL(renameat);
    if (below_at(one, before)) trace("rename", -1, before, after);
    GUARD(below_at(one, before), 1, -1, real(one, before, other, after))
}
int renameat2(int one, const char *before, int other, const char *after, unsigned int flags) {
    __typeof__(&renameat2) real = REAL(renameat2);
    if (below_at(one, before)) trace(flags & 2 ? "exchange" : "rename", -1, before, after);
    GUARD(below_at(one, before), 1, -1, real(one, before, other, after, flags))
}
int unlink(const char *path) {
    __typeof__(&unlink) real = REAL(unlink);
    GUARD(below(path), 0, -1, real(path))
}
int unlinkat(int folder, const char *path, int flags) {
    __typeof__(&unlinkat) real = REAL(unlinkat);
    GUARD(below_at(folder, path), 0, -1, real(folder, path, flags))
}
int rmdir(const char *path) {
    __typeof__(&rmdir) real = REAL(rmdir);
    GUARD(below(path), 0, -1, real(path))
}
int mkdir(const char *path, mode_t mode) {
    __typeof__(&mkdir) real = REAL(mkdir);
    GUARD(below(path), 1, -1, real(path, mode))
}
int chmod(const char *path, mode_t mode) {
    __typeof__(&chmod) real = REAL(chmod);
    GUARD(below(path), 0, -1, real(path, mode))
}
#define OPENED(real_call)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) {
    __typeof__(&open) real = REAL(open);
    OPENED()
    GUARD((flags & (O_WRONLY | O_RDWR)) && below(path), 1, -1, real(path, flags, mode))
}
int open64(const char *path, int flags, ...) {
    __typeof__(&open64) real = REAL(open64);
    OPENED()
    GUARD((flags & (O_WRONLY | O_RDWR)) && below(path), 1, -1, real(path, flags, mode))
}
int openat(int folder, const char *path, int flags, ...) {
    __typeof__(&openat) real = REAL(openat);
    OPENED()
    GUARD((flags & (O_WRONLY | O_RDWR)) && below_at(folder, path), 1, -1, real(folder, path, flags, mode))
}
int openat64(int folder, const char *path, int flags, ...) {
    __typeof__(&openat64) real = REAL(openat64);
    OPENED()
    GUARD((flags & (O_WRONLY | O_RDWR)) && below_at(folder, path), 1, -1, real(folder, path, flags, mode))
}
