/* Listing of directories and their subdirectories: lstat(2), listxattr(2) and readlink(2) of every name.
 *
 * This module decides nothing: entries that may have to be left out or refused are marked as odd, and Python decides.
 */

#define _GNU_SOURCE
#include "objects.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "confined.h"
#include "entry.h"
#include "text.h"

#ifndef SYS_listxattrat
#define SYS_listxattrat 465 /* Linux 6.13 */
#endif

#define LIST_MAX 65536 /* XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h */
#define LIST_USUAL 256 /* small, since the kernel allocates a buffer of the size that it is asked for */

/* Threads: functions down to read_waiting() need no interpreter's lock; one thread at a time uses a Found. */

/* One name of a directory. Offsets are those in Found.text. */
typedef struct {
    size_t directory;             /* index of the directory */
    size_t path, path_length, name_length;
    size_t target;
    ssize_t target_length;        /* -1: none */
    size_t xattrs, xattrs_length; /* NAME NUL, length of the value (size_t), value; once for each */
    long long numbers[ROW_COUNT];
    dev_t rdev;
} Row;

/* A directory that was read or is waiting to be read. Its path is in Found.text. */
typedef struct {
    size_t path, length;
    long long position; /* of its row; for the directories of the call -1, -2, ... */
    size_t next;        /* of a waiting directory: 1 + the index of the next one, 0 for the last */
} Directory;

/* Starts as zeros; read_directories() frees what it points to. */
typedef struct {
    Row *rows;
    size_t count, rows_room;
    Directory *directories;
    size_t directories_count, directories_room;
    size_t waiting; /* 1 + the index of the directory to read next */
    Text text;
    size_t failed, failed_length; /* the path at which found_read() failed */
} Found;

/* Names to leave out. The caller owns them; NULL ends each list. */
typedef struct {
    const char **attributes;  /* names of attributes that are not read; a name that ends in a dot is a prefix */
    const char **directories; /* paths of directories that are not read */
} Ignored;

static int kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return KIND_FILE;
    case S_IFDIR: return KIND_DIRECTORY;
    case S_IFLNK: return KIND_SYMLINK;
    case S_IFIFO: return KIND_FIFO;
    case S_IFCHR: return KIND_CHAR;
    case S_IFBLK: return KIND_BLOCK;
    default: return KIND_COUNT;
    }
}

/* Return 1 if the caller has to check the row: it is special, has attributes, or has the name of a whiteout. */
static int is_odd(const Row *row, const Text *text)
{
    const char *name = text->bytes + row->path + row->path_length - row->name_length;

    return row->numbers[ROW_KIND] >= KIND_FIFO || row->xattrs_length || (row->name_length >= 4 && !memcmp(name, ".wh.", 4));
}

#define HANDLE (NAME_MAX + 64)

/* Make the path of a name in a directory, for calls that take no handle. */
static void through_proc(char handle[HANDLE], int fd, const char *name)
{
    snprintf(handle, HANDLE, "/proc/self/fd/%d/%s", fd, name);
}

/* Call listxattr(2) on a name in a directory: by the directory's handle if the kernel can, else through /proc. */
static ssize_t list_xattrs(int fd, const char *name, char *list, size_t room)
{
    /* Any thread sets it, none clears it: a thread that does not see it yet asks the kernel once more. */
    static atomic_int is_missing;
    ssize_t length = -1;

    if (!atomic_load_explicit(&is_missing, memory_order_relaxed)) {
        length = syscall(SYS_listxattrat, fd, name, AT_SYMLINK_NOFOLLOW, list, room);
        if (length < 0 && (errno == ENOSYS || errno == EPERM))
            atomic_store_explicit(&is_missing, 1, memory_order_relaxed);
    }
    if (atomic_load_explicit(&is_missing, memory_order_relaxed)) {
        char handle[HANDLE];
        through_proc(handle, fd, name);
        length = llistxattr(handle, list, room);
    }
    return length < 0 && errno == ERANGE && room < LIST_MAX ? list_xattrs(fd, name, list, LIST_MAX) : length;
}

static int is_ignored(const char *name, const char **ignored)
{
    for (; *ignored; ignored++) {
        size_t length = strlen(*ignored);
        int prefix = length && (*ignored)[length - 1] == '.';
        if (prefix ? !strncmp(name, *ignored, length) : !strcmp(name, *ignored))
            return 1;
    }
    return 0;
}

/* Append the attributes of a name to the text. `buffer` has 2 LIST_MAX bytes. Return 0 or an errno. */
static int read_xattrs(Text *text, Row *row, int fd, const char *name, const char **ignored, char *buffer)
{
    char handle[HANDLE], *list = buffer, *value = buffer + LIST_MAX, *at;
    ssize_t length = list_xattrs(fd, name, list, LIST_USUAL);

    if (length <= 0)
        return !length || errno == ENOTSUP ? 0 : errno;
    through_proc(handle, fd, name);
    row->xattrs = text->used;
    for (at = list; at < list + length; at += strlen(at) + 1) {
        size_t size;
        ssize_t got;
        if (is_ignored(at, ignored))
            continue;
        got = lgetxattr(handle, at, value, LIST_MAX);
        if (got < 0)
            return errno;
        size = (size_t)got;
        if (text_add(text, at, strlen(at) + 1) || text_add(text, &size, sizeof size) || text_add(text, value, size))
            return ENOMEM;
    }
    row->xattrs_length = text->used - row->xattrs;
    return 0;
}

/* Append the path of a name in a directory to the text. Return 0 or ENOMEM. */
static int add_path(Found *found, const Directory *directory, const char *name, size_t length)
{
    /* reserve first: the text may move, and a part of it is copied to its end */
    if (text_reserve(&found->text, directory->length + 1 + length))
        return ENOMEM;
    text_add(&found->text, found->text.bytes + directory->path, directory->length);
    if (directory->length)
        text_add(&found->text, "/", 1);
    return text_add(&found->text, name, length);
}

/* Add the row of a name. Return 0 or an errno. */
static int read_name(Found *found, size_t directory, int fd, const char *name, const char **ignored, char *buffer)
{
    char target[PATH_MAX];
    struct stat status;
    Row *row;
    int code;

    if (found->count == found->rows_room) {
        size_t room = 2 * found->rows_room + 256;
        Row *grown = realloc(found->rows, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        found->rows = grown;
        found->rows_room = room;
    }
    row = found->rows + found->count;
    *row = (Row){.directory = directory, .path = found->text.used, .name_length = strlen(name), .target_length = -1};
    if ((code = add_path(found, found->directories + directory, name, row->name_length)))
        return code;
    row->path_length = found->text.used - row->path;
    found->failed = row->path;
    found->failed_length = row->path_length;
    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW)) {
        if (errno != ENOENT)
            return errno;
        row->numbers[ROW_KIND] = KIND_ABSENT;
        found->count++;
        return 0;
    }
    row->numbers[ROW_KIND] = kind_of(status.st_mode);
    row->numbers[ROW_MODE] = status.st_mode & 07777;
    row->numbers[ROW_UID] = status.st_uid;
    row->numbers[ROW_GID] = status.st_gid;
    row->numbers[ROW_SIZE] = S_ISREG(status.st_mode) ? status.st_size : 0;
    row->numbers[ROW_MTIME] = status.st_mtim.tv_sec;
    row->numbers[ROW_DEV] = (long long)status.st_dev;
    row->numbers[ROW_INO] = (long long)status.st_ino;
    row->numbers[ROW_NLINK] = (long long)status.st_nlink;
    row->rdev = status.st_rdev;
    if (S_ISLNK(status.st_mode)) {
        row->target_length = readlinkat(fd, name, target, sizeof target);
        if (row->target_length < 0)
            return errno;
        row->target = found->text.used;
        if ((code = text_add(&found->text, target, (size_t)row->target_length)))
            return code;
    }
    if ((code = read_xattrs(&found->text, row, fd, name, ignored, buffer)))
        return code;
    found->count++;
    return 0;
}

/* Add the rows of a directory. Return 0 or an errno. */
static int read_directory(Found *found, size_t index, int root, const char **ignored, char *buffer)
{
    const Directory directory = found->directories[index];
    const int fd = confined_directory(root, found->text.bytes + directory.path, directory.length, O_RDONLY);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    int code = 0;

    found->failed = directory.path;
    found->failed_length = directory.length;
    if (!stream) {
        code = errno;
        if (fd >= 0)
            close(fd);
        return code;
    }
    while (!code) {
        const struct dirent *item;
        errno = 0;
        item = readdir(stream);
        if (!item) {
            code = errno;
            break;
        }
        if (strcmp(item->d_name, ".") && strcmp(item->d_name, ".."))
            code = read_name(found, index, fd, item->d_name, ignored, buffer);
    }
    closedir(stream);
    return code;
}

/* Add a directory, whose path is in the text, in front of the waiting ones. Return 0 or ENOMEM. */
static int add_directory(Found *found, size_t path, size_t length, long long position)
{
    if (found->directories_count == found->directories_room) {
        size_t room = 2 * found->directories_room + 64;
        Directory *grown = realloc(found->directories, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        found->directories = grown;
        found->directories_room = room;
    }
    found->directories[found->directories_count++] = (Directory){path, length, position, found->waiting};
    found->waiting = found->directories_count;
    return 0;
}

static int is_among(const char *path, size_t length, const char **paths)
{
    for (; *paths; paths++)
        if (strlen(*paths) == length && !memcmp(*paths, path, length))
            return 1;
    return 0;
}

/* Add the directories among the rows from `first` on to the waiting ones, unless odd or ignored. Return 0 or ENOMEM. */
static int add_below(Found *found, size_t first, const char **ignored)
{
    int code = 0;

    for (; !code && first < found->count; first++) {
        const Row *row = found->rows + first;
        if (row->numbers[ROW_KIND] == KIND_DIRECTORY && !is_odd(row, &found->text) &&
            !is_among(found->text.bytes + row->path, row->path_length, ignored))
            code = add_directory(found, row->path, row->path_length, (long long)first);
    }
    return code;
}

/* Read the waiting directories and their subdirectories, until there are at least `most` names. Return 0 or an errno. */
static int read_waiting(Found *found, int root, size_t most, const Ignored *ignored)
{
    char *buffer = malloc(2 * LIST_MAX);
    int code = buffer ? 0 : ENOMEM;

    while (!code && found->waiting && found->count < most) {
        const size_t index = found->waiting - 1, first = found->count;
        found->waiting = found->directories[index].next;
        code = read_directory(found, index, root, ignored->attributes, buffer);
        if (!code)
            code = add_below(found, first, ignored->directories);
    }
    free(buffer);
    return code;
}

/* Return the attributes as a tuple of (name, value), sorted: a new reference, or NULL and an exception. */
static PyObject *xattr_pairs(const char *at, size_t length)
{
    PyObject *pairs = PyList_New(0), *result = NULL;
    const char *end = at + length;

    while (pairs && at < end) {
        size_t name_length = strlen(at), size;
        PyObject *pair;
        const char *value = at + name_length + 1 + sizeof size;
        memcpy(&size, at + name_length + 1, sizeof size);
        pair = Py_BuildValue("(Ny#)", path_object(at, name_length), value, (Py_ssize_t)size);
        if (!pair || PyList_Append(pairs, pair))
            Py_CLEAR(pairs);
        Py_XDECREF(pair);
        at = value + size;
    }
    if (pairs && !PyList_Sort(pairs))
        result = PyList_AsTuple(pairs);
    Py_XDECREF(pairs);
    return result;
}

static int is_device(const Row *row)
{
    return row->numbers[ROW_KIND] == KIND_CHAR || row->numbers[ROW_KIND] == KIND_BLOCK;
}

/* Return the rare fields as a tuple (MORE_…): a new reference, or NULL and an exception. */
static PyObject *more_of(const Row *row, const char *text)
{
    PyObject *xattrs = row->xattrs_length ? xattr_pairs(text + row->xattrs, row->xattrs_length) : PyTuple_New(0);
    PyObject *target = row->target_length < 0 ? Py_BuildValue("") : path_object(text + row->target, (size_t)row->target_length);
    PyObject *rdev = is_device(row) ? Py_BuildValue("(II)", major(row->rdev), minor(row->rdev)) : Py_BuildValue("");
    PyObject *more = target && rdev && xattrs ? PyTuple_Pack(MORE_COUNT, target, rdev, xattrs) : NULL;

    Py_XDECREF(target);
    Py_XDECREF(rdev);
    Py_XDECREF(xattrs);
    return more;
}

/* Add a row to the columns. Return 0, or -1 and an exception. */
static int add_row(const Found *found, size_t index, PyObject *more, PyObject *odd)
{
    const Row *row = found->rows + index;
    PyObject *position, *rest = NULL;
    int bad;

    if (row->target_length < 0 && !is_device(row) && !is_odd(row, &found->text))
        return 0;
    position = PyLong_FromSize_t(index);
    bad = !position;
    if (!bad && (row->target_length >= 0 || row->xattrs_length || is_device(row))) {
        rest = more_of(row, found->text.bytes);
        bad = !rest || PyDict_SetItem(more, position, rest);
    }
    if (!bad && is_odd(row, &found->text))
        bad = PyList_Append(odd, position);
    Py_XDECREF(position);
    Py_XDECREF(rest);
    return bad ? -1 : 0;
}

/* Return the positions of the waiting directories: a new reference, or NULL and an exception. */
static PyObject *waiting(const Found *found)
{
    PyObject *positions = PyList_New(0);
    size_t next = found->waiting;

    while (positions && next) {
        const Directory *directory = found->directories + next - 1;
        PyObject *position = PyLong_FromLongLong(directory->position);
        if (!position || PyList_Append(positions, position))
            Py_CLEAR(positions);
        Py_XDECREF(position);
        next = directory->next;
    }
    return positions;
}

/* Return the paths of all rows, a zero byte behind each: a new reference, or NULL and an exception. */
static PyObject *joined_paths(const Found *found)
{
    size_t index, total = 0;
    PyObject *paths;
    char *to;

    for (index = 0; index < found->count; index++)
        total += found->rows[index].path_length + 1;
    paths = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
    to = paths ? PyBytes_AsString(paths) : NULL;
    for (index = 0; to && index < found->count; index++) {
        const Row *row = found->rows + index;
        memcpy(to, found->text.bytes + row->path, row->path_length);
        to += row->path_length;
        *to++ = '\0';
    }
    return paths;
}

/* Return the tuple of read_directories(): a new reference, or NULL and an exception. */
static PyObject *columns(const Found *found)
{
    PyObject *paths = joined_paths(found), *more = PyDict_New(), *below = waiting(found), *odd = PyList_New(0), *result = NULL;
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(found->count * sizeof found->rows->numbers));
    PyObject *parents = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(found->count * sizeof(long long)));
    int bad = !paths || !numbers || !parents || !more || !below || !odd;
    size_t index;

    for (index = 0; index < found->count && !bad; index++) {
        const Row *row = found->rows + index;
        memcpy(PyBytes_AsString(numbers) + index * sizeof row->numbers, row->numbers, sizeof row->numbers);
        memcpy(PyBytes_AsString(parents) + index * sizeof(long long), &found->directories[row->directory].position,
               sizeof(long long));
        bad = add_row(found, index, more, odd);
    }
    if (!bad)
        result = PyTuple_Pack(6, paths, numbers, parents, more, below, odd);
    Py_XDECREF(paths);
    Py_XDECREF(numbers);
    Py_XDECREF(parents);
    Py_XDECREF(more);
    Py_XDECREF(below);
    Py_XDECREF(odd);
    return result;
}

/* Return a NULL-terminated array of the strings in a tuple of bytes, or NULL and an exception. The caller frees the array;
 * the bytes own the strings. */
static const char **strings(PyObject *tuple)
{
    Py_ssize_t count = PyTuple_Size(tuple), index;
    const char **found = calloc((size_t)count + 1, sizeof *found);

    if (!found) {
        PyErr_NoMemory();
        return NULL;
    }
    for (index = 0; index < count; index++)
        if (!(found[index] = PyBytes_AsString(PyTuple_GetItem(tuple, index)))) {
            free(found);
            return NULL;
        }
    return found;
}

/* Add the directories of a list to the waiting ones; the first is read first. Return 0, or -1 and an exception. */
static int add_directories(Found *found, PyObject *listed)
{
    Py_ssize_t index;
    int bad = 0;

    for (index = PyList_Size(listed) - 1; !bad && index >= 0; index--) {
        PyObject *owner;
        size_t length, start = found->text.used;
        const char *path = path_bytes(PyList_GetItem(listed, index), &length, &owner);
        bad = !path;
        if (path && (text_add(&found->text, path, length) || add_directory(found, start, length, -1 - index))) {
            PyErr_NoMemory();
            bad = 1;
        }
        Py_XDECREF(owner);
    }
    return bad ? -1 : 0;
}

PyObject *read_directories(PyObject *module, PyObject *arguments)
{
    PyObject *listed, *attributes, *pruned, *result = NULL;
    Found found = {0};
    Ignored ignored = {0};
    Py_ssize_t most;
    int root, code;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!O!O!n", &root, &PyList_Type, &listed, &PyTuple_Type, &attributes, &PyTuple_Type,
                          &pruned, &most))
        return NULL;
    if ((ignored.attributes = strings(attributes)) && (ignored.directories = strings(pruned)) &&
        !add_directories(&found, listed)) {
        Py_BEGIN_ALLOW_THREADS
        code = read_waiting(&found, root, most > 0 ? (size_t)most : 1, &ignored);
        Py_END_ALLOW_THREADS
        if (code)
            raise_code(code, found.text.bytes + found.failed, found.failed_length);
        else
            result = columns(&found);
    }
    free(ignored.attributes);
    free(ignored.directories);
    free(found.directories);
    free(found.rows);
    free(found.text.bytes);
    return result;
}
