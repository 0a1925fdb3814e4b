#define _GNU_SOURCE
#include "confined.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define NO_SYMLINKS 0x04 /* RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH of linux/openat2.h, which older headers lack */
#define BENEATH 0x08

/* Larger files are compared before the read, too: the nanoseconds show a change within one second. */
#define LARGE (1 << 16)

/* The length of the first component. */
static size_t first_length(const char *path, size_t length)
{
    const char *slash = memchr(path, '/', length);

    return slash ? (size_t)(slash - path) : length;
}

static int is_name(const char *name, size_t length)
{
    return length && !(name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'))) && !memchr(name, '\0', length);
}

static int is_canonical(const char *path, size_t length)
{
    size_t at, size;

    for (at = 0; at <= length; at += size + 1) {
        size = first_length(path + at, length - at);
        if (!is_name(path + at, size))
            return 0;
    }
    return 1;
}

/* Open the directory at the start of a canonical path: the last one where one call can, else the first. Return a descriptor,
 * which the caller closes, or -1 and errno; *opened is the length of the path to it. */
static int open_part(int parent, const char *path, size_t length, int flags, size_t *opened)
{
    /* Any thread sets it, none clears it: a thread that does not see it yet asks the kernel once more. */
    static atomic_int is_missing;
    const int first = atomic_load_explicit(&is_missing, memory_order_relaxed);
    char copy[PATH_MAX];
    int fd;

    *opened = first || length >= sizeof copy ? first_length(path, length) : length;
    if (*opened >= sizeof copy) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(copy, path, *opened);
    copy[*opened] = '\0';
    flags = (*opened == length ? flags : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    do
        if (first) {
            fd = openat(parent, copy, flags);
        } else {
            struct { uint64_t flags, mode, resolve; } how = {(uint64_t)flags, 0, NO_SYMLINKS | BENEATH};
            fd = (int)syscall(SYS_openat2, parent, copy, &how, sizeof how);
        }
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && !first && (errno == ENOSYS || errno == EPERM)) { /* an old kernel, or a filter of system calls */
        atomic_store_explicit(&is_missing, 1, memory_order_relaxed);
        return open_part(parent, path, length, flags, opened);
    }
    if (fd < 0 && errno == ELOOP)
        errno = ENOTDIR;
    return fd;
}

int confined_directory(int root, const char *path, size_t length, int flags)
{
    int fd = root;

    if (!length)
        return openat(root, ".", flags | O_DIRECTORY | O_CLOEXEC);
    if (!is_canonical(path, length)) {
        errno = EINVAL;
        return -1;
    }
    for (;;) {
        size_t opened;
        const int next = open_part(fd, path, length, flags, &opened), cause = errno;
        if (fd != root)
            close(fd);
        errno = cause;
        if (next < 0 || opened == length)
            return next;
        fd = next;
        path += opened + 1;
        length -= opened + 1;
    }
}

void confined_start(Confined *self, int root)
{
    *self = (Confined){.root = root, .parent = -1};
}

void confined_end(Confined *self)
{
    if (self->parent >= 0)
        close(self->parent);
    confined_start(self, self->root);
}

/* Compare an open file with the size and mtime (seconds) of the regular file that was scanned. Return 0, an errno or another
 * error (confined.h); *nanoseconds is the rest of its mtime. */
static int check(int fd, long long size, long long mtime, long *nanoseconds)
{
    struct stat status;

    if (fstat(fd, &status))
        return errno;
    if (!S_ISREG(status.st_mode))
        return CONFINED_IRREGULAR;
    *nanoseconds = status.st_mtim.tv_nsec;
    return status.st_size == size && status.st_mtim.tv_sec == mtime ? 0 : CONFINED_CHANGED;
}

void confined_close(ConfinedFile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

int confined_open(Confined *self, const char *path, size_t length, long long size, long long mtime, ConfinedFile *file)
{
    const char *slash = memrchr(path, '/', length), *name = slash ? slash + 1 : path;
    const size_t parent = slash ? (size_t)(slash - path) : 0;
    int code = 0;

    *file = (ConfinedFile){.fd = -1, .size = size, .mtime = mtime, .left = size};
    if (!is_name(name, length - (size_t)(name - path)))
        return EINVAL;
    if (self->parent < 0 || parent != self->length || memcmp(path, self->path, parent)) {
        confined_end(self);
        self->parent = confined_directory(self->root, path, parent, O_PATH);
        if (self->parent < 0)
            return errno;
        self->path = path;
        self->length = parent;
    }
    /* O_NONBLOCK: the file may have become a FIFO. */
    do
        file->fd = openat(self->parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0)
        return errno;
    if (size > LARGE && (code = check(file->fd, size, mtime, &file->nanoseconds)))
        confined_close(file);
    return code;
}

int confined_read(ConfinedFile *file, char *buffer, size_t room, size_t *count)
{
    const size_t wanted = (unsigned long long)file->left < room ? (size_t)file->left : room;
    ssize_t got;

    do
        got = read(file->fd, buffer, wanted);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        /* the kind of the file explains more than the error of the read */
        const int cause = got ? errno : CONFINED_CHANGED;
        long nanoseconds;
        return check(file->fd, file->size, file->mtime, &nanoseconds) == CONFINED_IRREGULAR ? CONFINED_IRREGULAR : cause;
    }
    *count = (size_t)got;
    file->left -= got;
    return 0;
}

int confined_done(ConfinedFile *file)
{
    long nanoseconds = 0;
    int code = check(file->fd, file->size, file->mtime, &nanoseconds);

    if (!code && file->size > LARGE && nanoseconds != file->nanoseconds)
        code = CONFINED_CHANGED;
    confined_close(file);
    return code;
}
