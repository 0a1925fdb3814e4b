/* Directories and files of a root filesystem, opened component by component: what root.py does, without the interpreter.
 *
 * Every component is opened relative to the handle of its parent, symlinks never followed (openat(2) with
 * O_NOFOLLOW), so that nothing in the root filesystem leads out of it. Only confined_raise() needs the interpreter's lock.
 */

#ifndef RECHUNK_CONFINED_H
#define RECHUNK_CONFINED_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So many handles are kept open; what lies deeper is walked to anew. */
#define CONFINED_DEPTH 48

typedef struct {
    int root;                    /* borrowed */
    int count;                   /* of the handles that are kept */
    int fds[CONFINED_DEPTH];
    size_t ends[CONFINED_DEPTH]; /* where in `path` the component of each ends */
    int deep;                    /* handle of `path` where it lies deeper than those, else -1 */
    char *path;                  /* the directory that was asked for last */
    size_t length, room;
} Confined;

static void confined_start(Confined *self, int root)
{
    memset(self, 0, sizeof *self);
    self->root = root;
    self->deep = -1;
}

static void confined_shorten(Confined *self, int count)
{
    if (self->deep >= 0) {
        close(self->deep);
        self->deep = -1;
    }
    while (self->count > count)
        close(self->fds[--self->count]);
    self->length = count ? self->ends[count - 1] : 0;
}

static void confined_end(Confined *self)
{
    confined_shorten(self, 0);
    free(self->path);
    self->path = NULL;
    self->room = 0;
}

/* One component: a handle (O_PATH) of the directory, or -1 and errno. */
static int confined_step(int parent, const char *name, size_t length)
{
    char copy[NAME_MAX + 1];
    int fd;

    if (!length || (name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')))) {
        errno = EINVAL;
        return -1;
    }
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(copy, name, length);
    copy[length] = '\0';
    do
        fd = openat(parent, copy, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* The handle of the directory at exactly this path ("" is the root), or -1 and errno. It is good until the next call. */
static int confined_directory(Confined *self, const char *path, size_t length)
{
    int keep = 0, fd;
    size_t at;

    if (length && path[length - 1] == '/') {
        errno = EINVAL;
        return -1;
    }
    if (length == self->length && !memcmp(path, self->path ? self->path : "", length))
        return self->deep >= 0 ? self->deep : self->count ? self->fds[self->count - 1] : self->root;
    while (keep < self->count) {
        size_t end = self->ends[keep], start = keep ? self->ends[keep - 1] : 0;
        if (end > length || (end < length && path[end] != '/') || memcmp(path + start, self->path + start, end - start))
            break;
        keep++;
    }
    confined_shorten(self, keep);
    if (length > self->room) {
        char *grown = realloc(self->path, length);
        if (!grown) {
            errno = ENOMEM;
            return -1;
        }
        self->path = grown;
        self->room = length;
    }
    if (length)
        memcpy(self->path, path, length);
    fd = keep ? self->fds[keep - 1] : self->root;
    for (at = keep ? self->ends[keep - 1] + 1 : 0; at < length;) {
        const char *slash = memchr(path + at, '/', length - at);
        size_t end = slash ? (size_t)(slash - path) : length;
        int next = confined_step(fd, path + at, end - at);
        if (next < 0) {
            int cause = errno;
            confined_shorten(self, self->count);
            errno = cause;
            return -1;
        }
        if (self->count < CONFINED_DEPTH) {
            self->ends[self->count] = end;
            self->fds[self->count++] = next;
        } else {
            if (self->deep >= 0)
                close(self->deep);
            self->deep = next;
        }
        fd = next;
        at = end + 1;
    }
    self->length = length;
    return fd;
}

/* What may be wrong with a file beside an errno: it is not what was scanned, or no regular file. */
enum { CONFINED_CHANGED = -1, CONFINED_IRREGULAR = -2 };

/* Files of more bytes are looked at before they are read, too: a change within one second shows in the difference. */
#define CONFINED_LARGE (1 << 16)

/* Whether an open file is the regular file that was scanned, of this size and mtime (seconds): 0, an errno, or what is
 * wrong; *nanoseconds is the rest of its mtime. */
static inline int confined_check(int fd, long long size, long long mtime, long *nanoseconds)
{
    struct stat status;

    if (fstat(fd, &status))
        return errno;
    if (!S_ISREG(status.st_mode))
        return CONFINED_IRREGULAR;
    *nanoseconds = status.st_mtim.tv_nsec;
    return status.st_size == size && status.st_mtim.tv_sec == mtime ? 0 : CONFINED_CHANGED;
}

/* A file that is being read. */
typedef struct {
    int fd;                 /* or -1 */
    long long size, mtime;  /* as it was scanned */
    long long left;         /* bytes to be read */
    long nanoseconds;       /* of the mtime, of large files */
} ConfinedFile;

static inline void confined_close(ConfinedFile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* Opens the file at exactly this path, which ends in a zero byte. Returns 0, or what is wrong. */
static inline int confined_open(Confined *self, const char *path, size_t length, long long size, long long mtime,
                                ConfinedFile *file)
{
    const char *slash = memrchr(path, '/', length);
    int code = 0, parent = confined_directory(self, path, slash ? (size_t)(slash - path) : 0);

    *file = (ConfinedFile){.fd = -1, .size = size, .mtime = mtime, .left = size};
    if (parent < 0)
        return errno;
    /* O_NONBLOCK: it may have become a FIFO. */
    do
        file->fd = openat(parent, slash ? slash + 1 : path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0)
        return errno;
    if (size > CONFINED_LARGE && (code = confined_check(file->fd, size, mtime, &file->nanoseconds)))
        confined_close(file);
    return code;
}

/* Reads up to `room` bytes of what is left. Returns 0 and how many there were, or what is wrong. */
static inline int confined_read(ConfinedFile *file, char *buffer, size_t room, size_t *count)
{
    const size_t wanted = (unsigned long long)file->left < room ? (size_t)file->left : room;
    ssize_t got;

    do
        got = read(file->fd, buffer, wanted);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        /* the kind of a file explains more than what it answers */
        int cause = got ? errno : CONFINED_CHANGED;
        long nanoseconds = 0;
        return confined_check(file->fd, file->size, file->mtime, &nanoseconds) == CONFINED_IRREGULAR ? CONFINED_IRREGULAR
                                                                                                     : cause;
    }
    *count = (size_t)got;
    file->left -= got;
    return 0;
}

/* Closes a file that was read. Returns 0 where it still is what was scanned, or what is wrong. */
static inline int confined_done(ConfinedFile *file)
{
    long nanoseconds = 0;
    int code = confined_check(file->fd, file->size, file->mtime, &nanoseconds);

    if (!code && file->size > CONFINED_LARGE && nanoseconds != file->nanoseconds)
        code = CONFINED_CHANGED;
    confined_close(file);
    return code;
}

/* Raises OSError or LookupError, as the modules' contracts say. */
static inline void confined_raise(int code, const char *path, Py_ssize_t length)
{
    PyObject *error = NULL, *shown = PyUnicode_DecodeUTF8(path, length, "surrogateescape");

    if (shown && code > 0)
        error = PyObject_CallFunction(PyExc_OSError, "isO", code, strerror(code), shown);
    else if (shown)
        error = PyObject_CallFunction(PyExc_LookupError, "sO", code == CONFINED_CHANGED ? "changed" : "irregular", shown);
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(shown);
    Py_XDECREF(error);
}

#endif
