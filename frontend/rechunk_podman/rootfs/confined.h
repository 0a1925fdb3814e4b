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

/* A descriptor of the regular file at exactly this path (which ends in a zero byte), of this size and mtime (seconds);
 * or -1, and in *code what is wrong. */
static inline int confined_file(Confined *self, const char *path, size_t length, long long size, long long mtime,
                                struct stat *status, int *code)
{
    const char *slash = memrchr(path, '/', length);
    int fd, parent = confined_directory(self, path, slash ? (size_t)(slash - path) : 0);

    if (parent < 0) {
        *code = errno;
        return -1;
    }
    /* O_NONBLOCK: it may have become a FIFO. */
    do
        fd = openat(parent, slash ? slash + 1 : path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 || fstat(fd, status))
        *code = errno;
    else if (!S_ISREG(status->st_mode))
        *code = CONFINED_IRREGULAR;
    else if (status->st_size != size || status->st_mtim.tv_sec != mtime)
        *code = CONFINED_CHANGED;
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Whether an open file is still what it was: 0, an errno, or CONFINED_CHANGED. */
static inline int confined_unchanged(int fd, const struct stat *before)
{
    struct stat after;

    if (fstat(fd, &after))
        return errno;
    return after.st_size == before->st_size && after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
                   after.st_mtim.tv_nsec == before->st_mtim.tv_nsec
               ? 0
               : CONFINED_CHANGED;
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
