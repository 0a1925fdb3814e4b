/* What directories hold, and those below them: lstat(2), listxattr(2) and readlink(2) of every name, without the
 * interpreter's lock.
 *
 * The contract is in _listing.pyi. Nothing is decided here: whatever may have to be left out, refused or looked at
 * once more comes back as odd.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "confined.h"

#ifndef SYS_listxattrat
#define SYS_listxattrat 465 /* Linux 6.13 */
#endif

#define LIST_MAX 65536  /* XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h */
#define LIST_USUAL 256  /* the kernel allocates what is asked for */

enum { KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KIND_FIFO, KIND_CHAR, KIND_BLOCK, KIND_NONE };

/* The numbers of an Entry, in the order of its fields (model.py: NUMBERS). */
enum { KIND, MODE, UID, GID, SIZE, MTIME, DEV, INO, NLINK, NUMBERS };

/* One name of a directory. Places are those in Found.text. */
typedef struct {
    size_t directory; /* index of the directory */
    size_t name, name_length;
    size_t target;
    ssize_t target_length; /* -1: none */
    size_t xattrs, xattrs_length; /* NAME NUL, length of the value (size_t), value; once for each */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    off_t size;
    time_t mtime;
    dev_t dev, rdev;
    ino_t ino;
    nlink_t nlink;
} Row;

/* A directory that is read or is to be. Its path is in Found.text. */
typedef struct {
    size_t path, length;
    long long place; /* of its row; or, of those that were asked for, -1 less for each before it */
    size_t next; /* of the directories that wait: the index behind it, 0 for the last; else not used */
} Directory;

typedef struct {
    Row *rows;
    size_t count, rows_room;
    Directory *directories;
    size_t directories_count, directories_room;
    size_t waiting; /* 1 + the index of the one to be read next */
    char *text;
    size_t used, text_room;
} Found;

/* What is left out: names of attributes that are not read, and paths of directories that are not. NULL ends them. */
typedef struct {
    const char **attributes, **directories;
} Ignored;

/* What went wrong: errno, and at which name (none: at the directory itself). */
typedef struct {
    int code;
    size_t directory;
    char name[NAME_MAX + 1];
} Failure;

static int room_for(Found *found, size_t more)
{
    if (found->used + more > found->text_room) {
        size_t room = 2 * found->text_room + more + 4096;
        char *grown = realloc(found->text, room);
        if (!grown)
            return ENOMEM;
        found->text = grown;
        found->text_room = room;
    }
    return 0;
}

static int add_text(Found *found, const void *text, size_t length, size_t *place)
{
    int code = room_for(found, length + 1); /* there is a text, even without a character */
    if (!code) {
        *place = found->used;
        memcpy(found->text + found->used, text, length);
        found->used += length;
    }
    return code;
}

static int kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return KIND_FILE;
    case S_IFDIR: return KIND_DIRECTORY;
    case S_IFLNK: return KIND_SYMLINK;
    case S_IFIFO: return KIND_FIFO;
    case S_IFCHR: return KIND_CHAR;
    case S_IFBLK: return KIND_BLOCK;
    default: return KIND_NONE;
    }
}

static int is_odd(int kind, const Row *row, const char *texts)
{
    return kind >= KIND_FIFO || row->xattrs_length ||
           (row->name_length >= 4 && !memcmp(texts + row->name, ".wh.", 4));
}

#define HANDLE (NAME_MAX + 64)

/* A name in a directory, for calls that take no handle. */
static void through_proc(char *handle, int fd, const char *name)
{
    snprintf(handle, HANDLE, "/proc/self/fd/%d/%s", fd, name);
}

/* listxattr(2) of a name in a directory: by its handle where the kernel can, else through /proc. */
static ssize_t list_xattrs(int fd, const char *name, char *list, size_t room)
{
    static int unknown;
    ssize_t length;

    if (!unknown) {
        length = syscall(SYS_listxattrat, fd, name, AT_SYMLINK_NOFOLLOW, list, room);
        if (length < 0 && (errno == ENOSYS || errno == EPERM))
            unknown = 1;
    }
    if (unknown) {
        char handle[HANDLE];
        through_proc(handle, fd, name);
        length = llistxattr(handle, list, room);
    }
    return length < 0 && errno == ERANGE && room < LIST_MAX ? list_xattrs(fd, name, list, LIST_MAX) : length;
}

/* What ends in a dot stands for all names that begin with it. */
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

static int read_xattrs(Found *found, Row *row, int fd, const char *name, const char **ignored, char *list, char *value)
{
    char handle[HANDLE];
    ssize_t length = list_xattrs(fd, name, list, LIST_USUAL);
    char *at;

    if (length <= 0)
        return !length || errno == ENOTSUP ? 0 : errno;
    through_proc(handle, fd, name);
    row->xattrs = found->used;
    for (at = list; at < list + length; at += strlen(at) + 1) {
        size_t size, place;
        ssize_t got;
        if (is_ignored(at, ignored))
            continue;
        got = lgetxattr(handle, at, value, LIST_MAX);
        if (got < 0)
            return errno;
        size = (size_t)got;
        if (add_text(found, at, strlen(at) + 1, &place) || add_text(found, &size, sizeof size, &place) ||
            add_text(found, value, size, &place))
            return ENOMEM;
    }
    row->xattrs_length = found->used - row->xattrs;
    return 0;
}

static int read_name(Found *found, size_t directory, int fd, const char *name, const char **ignored, char *list, char *value)
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
    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW))
        return errno;
    row = found->rows + found->count;
    memset(row, 0, sizeof *row);
    row->directory = directory;
    row->name_length = strlen(name);
    row->target_length = -1;
    row->mode = status.st_mode;
    row->uid = status.st_uid;
    row->gid = status.st_gid;
    row->size = status.st_size;
    row->mtime = status.st_mtim.tv_sec;
    row->dev = status.st_dev;
    row->rdev = status.st_rdev;
    row->ino = status.st_ino;
    row->nlink = status.st_nlink;
    if ((code = add_text(found, name, row->name_length, &row->name)))
        return code;
    if (S_ISLNK(row->mode)) {
        row->target_length = readlinkat(fd, name, target, sizeof target);
        if (row->target_length < 0)
            return errno;
        if ((code = add_text(found, target, (size_t)row->target_length, &row->target)))
            return code;
    }
    if ((code = read_xattrs(found, row, fd, name, ignored, list, value)))
        return code;
    found->count++;
    return 0;
}

static int read_directory(Found *found, size_t index, int handle, const char **ignored, char *list, char *value,
                          Failure *failure)
{
    int code = 0, fd = openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream) {
        code = errno;
        if (fd >= 0)
            close(fd);
        return code;
    }
    for (;;) {
        struct dirent *item;
        const char *name;
        errno = 0;
        item = readdir(stream);
        if (!item) {
            code = errno;
            break;
        }
        name = item->d_name;
        if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
            continue;
        code = read_name(found, index, fd, name, ignored, list, value);
        if (code) {
            snprintf(failure->name, sizeof failure->name, "%s", name);
            break;
        }
    }
    closedir(stream);
    return code;
}

/* Puts a directory, whose path is the end of the text, before those that wait. */
static int add_directory(Found *found, size_t path, long long place)
{
    Directory *directory;

    if (found->directories_count == found->directories_room) {
        size_t room = 2 * found->directories_room + 64;
        Directory *grown = realloc(found->directories, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        found->directories = grown;
        found->directories_room = room;
    }
    directory = found->directories + found->directories_count++;
    directory->path = path;
    directory->length = found->used - path;
    directory->place = place;
    directory->next = found->waiting;
    found->waiting = found->directories_count;
    return 0;
}

/* Whether one of the paths is that at the end of the text. */
static int is_among(const Found *found, size_t path, const char **paths)
{
    for (; *paths; paths++)
        if (strlen(*paths) == found->used - path && !memcmp(*paths, found->text + path, found->used - path))
            return 1;
    return 0;
}

/* Has a directory that was found wait to be read, unless somebody has to look at it first, or wants nothing of it. */
static int add_below(Found *found, const Row *row, const char **ignored)
{
    const Directory above = found->directories[row->directory];
    const size_t path = found->used;
    int code;

    if (kind_of(row->mode) != KIND_DIRECTORY || is_odd(KIND_DIRECTORY, row, found->text))
        return 0;
    if ((code = room_for(found, above.length + 1 + row->name_length)))
        return code;
    memcpy(found->text + path, found->text + above.path, above.length);
    found->used += above.length;
    if (above.length)
        found->text[found->used++] = '/';
    memcpy(found->text + found->used, found->text + row->name, row->name_length);
    found->used += row->name_length;
    if (!is_among(found, path, ignored))
        return add_directory(found, path, row - found->rows);
    found->used = path;
    return 0;
}

/* Reads what waits, and what is found below that, until there are `most` names or more. */
static void read_all(Found *found, int root, size_t most, const Ignored *ignored, Failure *failure)
{
    Confined confined;
    char *list = malloc(2 * LIST_MAX);

    if (!list) {
        failure->code = ENOMEM;
        return;
    }
    confined_start(&confined, root);
    while (!failure->code && found->waiting && found->count < most) {
        const size_t index = found->waiting - 1, first = found->count;
        const Directory directory = found->directories[index];
        int fd = confined_directory(&confined, found->text + directory.path, directory.length);
        size_t at;
        found->waiting = directory.next;
        failure->directory = index;
        failure->code = fd < 0 ? errno : read_directory(found, index, fd, ignored->attributes, list, list + LIST_MAX, failure);
        for (at = first; !failure->code && at < found->count; at++)
            failure->code = add_below(found, found->rows + at, ignored->directories);
    }
    confined_end(&confined);
    free(list);
}

/* From here on: with the interpreter's lock. */

static PyObject *text(const char *start, size_t length)
{
    return PyUnicode_DecodeUTF8(start, (Py_ssize_t)length, "surrogateescape");
}

static PyObject *full_path(const char *directory, size_t head, const char *name, size_t length, char *scratch)
{
    if (!head)
        return text(name, length);
    memcpy(scratch, directory, head);
    scratch[head] = '/';
    memcpy(scratch + head + 1, name, length);
    return text(scratch, head + 1 + length);
}

static PyObject *xattr_pairs(const char *at, size_t length)
{
    PyObject *pairs = PyList_New(0), *result = NULL;
    const char *end = at + length;

    while (pairs && at < end) {
        size_t name_length = strlen(at), size;
        PyObject *pair;
        const char *value = at + name_length + 1 + sizeof size;
        memcpy(&size, at + name_length + 1, sizeof size);
        pair = Py_BuildValue("(Ny#)", text(at, name_length), value, (Py_ssize_t)size);
        if (!pair || PyList_Append(pairs, pair)) {
            Py_XDECREF(pair);
            Py_CLEAR(pairs);
            break;
        }
        Py_DECREF(pair);
        at = value + size;
    }
    if (pairs && !PyList_Sort(pairs))
        result = PyList_AsTuple(pairs);
    Py_XDECREF(pairs);
    return result;
}

/* What few entries have: target, rdev, xattrs. */
static PyObject *take_more(int kind, const Row *row, const char *texts)
{
    PyObject *xattrs = row->xattrs_length ? xattr_pairs(texts + row->xattrs, row->xattrs_length) : PyTuple_New(0);
    PyObject *target = NULL, *rdev = NULL, *more = NULL;

    if (row->target_length >= 0)
        target = text(texts + row->target, (size_t)row->target_length);
    else
        Py_INCREF(target = Py_None);
    if (kind == KIND_CHAR || kind == KIND_BLOCK)
        rdev = Py_BuildValue("(II)", major(row->rdev), minor(row->rdev));
    else
        Py_INCREF(rdev = Py_None);
    if (target && rdev && xattrs)
        more = PyTuple_Pack(3, target, rdev, xattrs);
    Py_XDECREF(target);
    Py_XDECREF(rdev);
    Py_XDECREF(xattrs);
    return more;
}

static void take_numbers(int kind, const Row *row, long long *numbers)
{
    numbers[KIND] = kind;
    numbers[MODE] = row->mode & 07777;
    numbers[UID] = row->uid;
    numbers[GID] = row->gid;
    numbers[SIZE] = kind == KIND_FILE ? row->size : 0;
    numbers[MTIME] = row->mtime;
    numbers[DEV] = (long long)row->dev;
    numbers[INO] = (long long)row->ino;
    numbers[NLINK] = (long long)row->nlink;
}

/* 0, or -1 and an exception. */
static int take_row(const Found *found, size_t index, char *scratch, PyObject *paths, PyObject *more, PyObject *odd)
{
    const Row *row = found->rows + index;
    const Directory *directory = found->directories + row->directory;
    int kind = kind_of(row->mode), bad;
    PyObject *path = full_path(found->text + directory->path, directory->length, found->text + row->name, row->name_length,
                               scratch);
    PyObject *place = PyLong_FromSize_t(index), *rest = NULL;

    bad = !path || !place || PyList_Append(paths, path);
    if (!bad && (row->target_length >= 0 || row->xattrs_length || kind == KIND_CHAR || kind == KIND_BLOCK)) {
        rest = take_more(kind, row, found->text);
        bad = !rest || PyDict_SetItem(more, place, rest);
    }
    if (!bad && is_odd(kind, row, found->text))
        bad = PyList_Append(odd, place);
    Py_XDECREF(path);
    Py_XDECREF(place);
    Py_XDECREF(rest);
    return bad ? -1 : 0;
}

/* The places of the directories that wait, or NULL and an exception. */
static PyObject *take_waiting(const Found *found)
{
    PyObject *places = PyList_New(0);
    size_t next = found->waiting;

    while (places && next) {
        const Directory *directory = found->directories + next - 1;
        PyObject *place = PyLong_FromLongLong(directory->place);
        if (!place || PyList_Append(places, place))
            Py_CLEAR(places);
        Py_XDECREF(place);
        next = directory->next;
    }
    return places;
}

static PyObject *take_rows(const Found *found)
{
    PyObject *paths = PyList_New(0), *more = PyDict_New(), *below = take_waiting(found), *odd = PyList_New(0);
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(found->count * NUMBERS * sizeof(long long)));
    PyObject *parents = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(found->count * sizeof(long long)));
    PyObject *result = NULL;
    size_t longest = 0, index;
    char *scratch;
    int bad;

    for (index = 0; index < found->directories_count; index++)
        longest = found->directories[index].length > longest ? found->directories[index].length : longest;
    scratch = malloc(longest + NAME_MAX + 2);
    if (!scratch)
        PyErr_NoMemory();
    bad = !scratch || !paths || !numbers || !parents || !more || !below || !odd;
    for (index = 0; index < found->count && !bad; index++) {
        long long row[NUMBERS];
        take_numbers(kind_of(found->rows[index].mode), found->rows + index, row);
        memcpy(PyBytes_AsString(numbers) + index * sizeof row, row, sizeof row);
        memcpy(PyBytes_AsString(parents) + index * sizeof(long long),
               &found->directories[found->rows[index].directory].place, sizeof(long long));
        bad = take_row(found, index, scratch, paths, more, odd);
    }
    if (!bad)
        result = PyTuple_Pack(6, paths, numbers, parents, more, below, odd);
    free(scratch);
    Py_XDECREF(paths);
    Py_XDECREF(numbers);
    Py_XDECREF(parents);
    Py_XDECREF(more);
    Py_XDECREF(below);
    Py_XDECREF(odd);
    return result;
}

static void complain(const Failure *failure, const Found *found)
{
    const Directory *directory = found->directories + failure->directory;
    size_t length = failure->code == ENOMEM ? 0 : directory->length, name = strlen(failure->name);
    char *scratch = malloc(length + name + 1);

    if (!scratch) {
        PyErr_NoMemory();
        return;
    }
    memcpy(scratch, found->text + directory->path, length);
    if (name) {
        if (length)
            scratch[length++] = '/';
        memcpy(scratch + length, failure->name, name);
        length += name;
    }
    confined_raise(failure->code, scratch, (Py_ssize_t)length);
    free(scratch);
}

/* A NULL-terminated array of the bytes in a tuple, or NULL and an exception. */
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

/* Has the directories of a list wait, the first to be read first. 0, or -1 and an exception. */
static int take_directories(Found *found, PyObject *listed)
{
    Py_ssize_t index;

    for (index = PyList_Size(listed) - 1; index >= 0; index--) {
        PyObject *bytes = PyUnicode_AsEncodedString(PyList_GetItem(listed, index), "utf-8", "surrogateescape");
        char *path;
        Py_ssize_t length;
        size_t place;
        int bad = !bytes || PyBytes_AsStringAndSize(bytes, &path, &length);
        if (!bad && (add_text(found, path, (size_t)length, &place) || add_directory(found, place, -1 - index))) {
            PyErr_NoMemory();
            bad = 1;
        }
        Py_XDECREF(bytes);
        if (bad)
            return -1;
    }
    return 0;
}

static PyObject *read_directories(PyObject *module, PyObject *arguments)
{
    PyObject *listed, *attributes, *pruned, *result = NULL;
    Found found = {0};
    Failure failure = {0};
    Ignored ignored = {0};
    Py_ssize_t most;
    int root;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!O!O!n", &root, &PyList_Type, &listed, &PyTuple_Type, &attributes, &PyTuple_Type,
                          &pruned, &most))
        return NULL;
    if ((ignored.attributes = strings(attributes)) && (ignored.directories = strings(pruned)) &&
        !take_directories(&found, listed)) {
        Py_BEGIN_ALLOW_THREADS
        read_all(&found, root, most > 0 ? (size_t)most : 1, &ignored, &failure);
        Py_END_ALLOW_THREADS
        if (failure.code)
            complain(&failure, &found);
        else
            result = take_rows(&found);
    }
    free(ignored.attributes);
    free(ignored.directories);
    free(found.directories);
    free(found.rows);
    free(found.text);
    return result;
}

static PyMethodDef methods[] = {
    {"read_directories", read_directories, METH_VARARGS, "See _listing.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.native._listing",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__listing(void)
{
    return PyModuleDef_Init(&definition);
}
