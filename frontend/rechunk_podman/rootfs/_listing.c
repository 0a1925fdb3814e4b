/* What directories hold: lstat(2), listxattr(2) and readlink(2) of every name, without the interpreter's lock.
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
#define CACHE_BITS 13

enum { KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KIND_FIFO, KIND_CHAR, KIND_BLOCK, KIND_NONE };

typedef struct {
    long long value;
    PyObject *number;
} Slot;

typedef struct {
    /* One object for each of the few values that come again and again: that is most of them. */
    Slot cache[1 << CACHE_BITS];
} State;

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

typedef struct {
    Row *rows;
    size_t count, rows_room;
    char *text;
    size_t used, text_room;
} Found;

typedef struct {
    const char *path;
    Py_ssize_t length;
    PyObject *bytes;
} Directory;

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
    int code = room_for(found, length);
    if (!code) {
        *place = found->used;
        memcpy(found->text + found->used, text, length);
        found->used += length;
    }
    return code;
}

/* listxattr(2) of a name in a directory: by its handle where the kernel can, else through /proc. */
static ssize_t list_xattrs(int fd, const char *handle, const char *name, char *list, size_t room)
{
    static int unknown;
    ssize_t length;

    if (!unknown) {
        length = syscall(SYS_listxattrat, fd, name, AT_SYMLINK_NOFOLLOW, list, room);
        if (length < 0 && (errno == ENOSYS || errno == EPERM))
            unknown = 1;
    }
    if (unknown)
        length = llistxattr(handle, list, room);
    return length < 0 && errno == ERANGE && room < LIST_MAX ? list_xattrs(fd, handle, name, list, LIST_MAX) : length;
}

static int is_ignored(const char *name, char *const *ignored)
{
    for (; *ignored; ignored++)
        if (!strcmp(name, *ignored))
            return 1;
    return 0;
}

static int read_xattrs(Found *found, Row *row, int fd, const char *name, char *handle, char *const *ignored, char *list,
                       char *value)
{
    ssize_t length;
    char *at;

    snprintf(handle, NAME_MAX + 64, "/proc/self/fd/%d/%s", fd, name);
    length = list_xattrs(fd, handle, name, list, LIST_USUAL);
    if (length < 0)
        return errno == ENOTSUP ? 0 : errno;
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

static int read_name(Found *found, size_t directory, int fd, const char *name, char *const *ignored, char *list, char *value)
{
    char handle[NAME_MAX + 64], target[PATH_MAX];
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
    if ((code = read_xattrs(found, row, fd, name, handle, ignored, list, value)))
        return code;
    found->count++;
    return 0;
}

static int read_directory(Found *found, size_t index, int handle, char *const *ignored, char *list, char *value,
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

static void read_all(Found *found, int root, const Directory *directories, size_t count, char *const *ignored,
                     Failure *failure)
{
    Confined confined;
    char *list = malloc(2 * LIST_MAX);
    size_t index;

    if (!list) {
        failure->code = ENOMEM;
        return;
    }
    confined_start(&confined, root);
    for (index = 0; index < count && !failure->code; index++) {
        int fd = confined_directory(&confined, directories[index].path, (size_t)directories[index].length);
        failure->directory = index;
        failure->code = fd < 0 ? errno : read_directory(found, index, fd, ignored, list, list + LIST_MAX, failure);
    }
    confined_end(&confined);
    free(list);
}

/* From here on: with the interpreter's lock. */

static PyObject *number(State *state, long long value)
{
    Slot *slot = state->cache + (((unsigned long long)value * 0x9E3779B97F4A7C15ull) >> (64 - CACHE_BITS));
    if (!slot->number || slot->value != value) {
        PyObject *made = PyLong_FromLongLong(value);
        if (!made)
            return NULL;
        Py_XDECREF(slot->number);
        slot->number = made;
        slot->value = value;
    }
    Py_INCREF(slot->number);
    return slot->number;
}

static PyObject *text(const char *start, size_t length)
{
    return PyUnicode_DecodeUTF8(start, (Py_ssize_t)length, "surrogateescape");
}

static PyObject *full_path(const Directory *directory, const char *name, size_t length, char *scratch)
{
    size_t head = (size_t)directory->length;
    if (!head)
        return text(name, length);
    memcpy(scratch, directory->path, head);
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

/* An Entry: an instance of the named tuple `type`, which is made as any tuple is, and then filled. */
static PyObject *make_entry(State *state, PyTypeObject *type, PyObject *kinds, int kind, const Row *row, const char *texts)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *fields[12], *entry;
    int place, bad = 0;

    fields[0] = kind == KIND_NONE ? Py_None : PyTuple_GetItem(kinds, kind);
    Py_XINCREF(fields[0]);
    fields[1] = number(state, row->mode & 07777);
    fields[2] = number(state, row->uid);
    fields[3] = number(state, row->gid);
    fields[4] = number(state, kind == KIND_FILE ? row->size : 0);
    fields[5] = number(state, row->mtime);
    fields[6] = number(state, (long long)row->dev);
    fields[7] = PyLong_FromUnsignedLongLong(row->ino);
    fields[8] = number(state, (long long)row->nlink);
    if (row->target_length >= 0)
        fields[9] = text(texts + row->target, (size_t)row->target_length);
    else
        Py_INCREF(fields[9] = Py_None);
    if (kind == KIND_CHAR || kind == KIND_BLOCK)
        fields[10] = Py_BuildValue("(II)", major(row->rdev), minor(row->rdev));
    else
        Py_INCREF(fields[10] = Py_None);
    fields[11] = row->xattrs_length ? xattr_pairs(texts + row->xattrs, row->xattrs_length) : PyTuple_New(0);
    for (place = 0; place < 12; place++)
        bad |= !fields[place];
    entry = bad ? NULL : allocate(type, 12);
    if (!entry) {
        for (place = 0; place < 12; place++)
            Py_XDECREF(fields[place]);
        return NULL;
    }
    for (place = 0; place < 12; place++)
        PyTuple_SetItem(entry, place, fields[place]);
    return entry;
}

static int is_odd(int kind, const Row *row, const char *texts)
{
    return kind >= KIND_FIFO || row->xattrs_length ||
           (row->name_length >= 4 && !memcmp(texts + row->name, ".wh.", 4));
}

static int take_rows(State *state, const Found *found, const Directory *directories, PyTypeObject *type, PyObject *kinds,
                     PyObject *entries, PyObject *below, PyObject *odd)
{
    size_t longest = 0, index;
    char *scratch;
    int bad = 0;

    for (index = 0; index < found->count; index++) {
        size_t length = (size_t)directories[found->rows[index].directory].length;
        longest = length > longest ? length : longest;
    }
    scratch = malloc(longest + NAME_MAX + 2);
    if (!scratch) {
        PyErr_NoMemory();
        return -1;
    }
    for (index = 0; index < found->count && !bad; index++) {
        const Row *row = found->rows + index;
        int kind = kind_of(row->mode);
        PyObject *path = full_path(directories + row->directory, found->text + row->name, row->name_length, scratch);
        PyObject *entry = path ? make_entry(state, type, kinds, kind, row, found->text) : NULL;
        if (!entry)
            bad = 1;
        else if (is_odd(kind, row, found->text)) {
            PyObject *pair = PyTuple_Pack(2, path, entry);
            bad = !pair || PyList_Append(odd, pair);
            Py_XDECREF(pair);
        } else {
            bad = PyDict_SetItem(entries, path, entry) || (kind == KIND_DIRECTORY && PyList_Append(below, path));
        }
        Py_XDECREF(path);
        Py_XDECREF(entry);
    }
    free(scratch);
    return bad ? -1 : 0;
}

static void complain(const Failure *failure, const Directory *directories)
{
    const Directory *directory = directories + failure->directory;
    size_t length;
    char *scratch = malloc((size_t)directory->length + sizeof failure->name + 1);

    if (!scratch) {
        PyErr_NoMemory();
        return;
    }
    length = (size_t)directory->length;
    memcpy(scratch, directory->path, length);
    if (*failure->name) {
        if (length)
            scratch[length++] = '/';
        memcpy(scratch + length, failure->name, strlen(failure->name));
        length += strlen(failure->name);
    }
    confined_raise(failure->code, scratch, (Py_ssize_t)length);
    free(scratch);
}

static PyObject *read_directories(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyObject *listed, *type, *kinds, *ignored, *result = NULL, *entries = NULL, *below = NULL, *odd = NULL;
    Directory *directories;
    Found found = {0};
    Failure failure = {0};
    char **names;
    Py_ssize_t count, names_count, index;
    int root, bad = 0;

    if (!PyArg_ParseTuple(arguments, "iO!OO!O!", &root, &PyList_Type, &listed, &type, &PyTuple_Type, &kinds, &PyTuple_Type,
                          &ignored))
        return NULL;
    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type) || PyTuple_Size(kinds) != KIND_NONE) {
        PyErr_SetString(PyExc_TypeError, "a named tuple and its six kinds are expected");
        return NULL;
    }
    count = PyList_Size(listed);
    names_count = PyTuple_Size(ignored);
    directories = calloc((size_t)count + 1, sizeof *directories);
    names = calloc((size_t)names_count + 1, sizeof *names);
    if (!directories || !names) {
        PyErr_NoMemory();
        bad = 1;
    }
    for (index = 0; index < names_count && !bad; index++)
        bad = !(names[index] = PyBytes_AsString(PyTuple_GetItem(ignored, index)));
    for (index = 0; index < count && !bad; index++) {
        Directory *directory = directories + index;
        directory->bytes = PyUnicode_AsEncodedString(PyList_GetItem(listed, index), "utf-8", "surrogateescape");
        bad = !directory->bytes || PyBytes_AsStringAndSize(directory->bytes, (char **)&directory->path, &directory->length);
    }
    if (!bad) {
        Py_BEGIN_ALLOW_THREADS
        read_all(&found, root, directories, (size_t)count, names, &failure);
        Py_END_ALLOW_THREADS
        if (failure.code)
            complain(&failure, directories);
        else if ((entries = PyDict_New()) && (below = PyList_New(0)) && (odd = PyList_New(0)) &&
                 !take_rows(state, &found, directories, (PyTypeObject *)type, kinds, entries, below, odd))
            result = PyTuple_Pack(3, entries, below, odd);
    }
    Py_XDECREF(entries);
    Py_XDECREF(below);
    Py_XDECREF(odd);
    for (index = 0; index < count && directories; index++)
        Py_XDECREF(directories[index].bytes);
    free(directories);
    free(names);
    free(found.rows);
    free(found.text);
    return result;
}

/* The fields of a named tuple Entry that are columns: numbers in this order, after the kind. */
enum { FIELD_KIND, FIELD_MODE, FIELD_UID, FIELD_GID, FIELD_SIZE, FIELD_MTIME, FIELD_TARGET = 9, FIELD_RDEV, FIELD_XATTRS };
enum { COLUMNS = FIELD_MTIME, HAS_MORE = 1, HAS_XATTRS = 2 };

static int take_columns(PyObject *entry, size_t index, size_t count, unsigned char *kinds, long long *numbers,
                        unsigned char *flags)
{
    int field;

    if (!PyTuple_Check(entry) || PyTuple_Size(entry) != FIELD_XATTRS + 1) {
        PyErr_SetString(PyExc_TypeError, "entries are expected");
        return -1;
    }
    kinds[index] = (unsigned char)PyLong_AsLong(PyTuple_GetItem(entry, FIELD_KIND));
    for (field = FIELD_MODE; field <= FIELD_MTIME; field++)
        numbers[(size_t)(field - FIELD_MODE) * count + index] = PyLong_AsLongLong(PyTuple_GetItem(entry, field));
    flags[index] = 0;
    if (PyObject_Size(PyTuple_GetItem(entry, FIELD_XATTRS)) > 0)
        flags[index] = HAS_MORE | HAS_XATTRS;
    if (PyTuple_GetItem(entry, FIELD_TARGET) != Py_None || PyTuple_GetItem(entry, FIELD_RDEV) != Py_None)
        flags[index] |= HAS_MORE;
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *columns(PyObject *module, PyObject *entries)
{
    PyObject *kinds, *numbers, *flags, *result = NULL;
    size_t count, index;
    int bad = 0;

    (void)module;
    if (!PyList_Check(entries)) {
        PyErr_SetString(PyExc_TypeError, "a list is expected");
        return NULL;
    }
    count = (size_t)PyList_Size(entries);
    kinds = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
    numbers = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(COLUMNS * count * sizeof(long long)));
    flags = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count);
    bad = !kinds || !numbers || !flags;
    for (index = 0; index < count && !bad; index++)
        bad = take_columns(PyList_GetItem(entries, (Py_ssize_t)index), index, count, (unsigned char *)PyBytes_AsString(kinds),
                           (long long *)(void *)PyBytes_AsString(numbers), (unsigned char *)PyBytes_AsString(flags));
    if (!bad)
        result = PyTuple_Pack(3, kinds, numbers, flags);
    Py_XDECREF(kinds);
    Py_XDECREF(numbers);
    Py_XDECREF(flags);
    return result;
}

static int clear_module(PyObject *module)
{
    State *state = PyModule_GetState(module);
    size_t index;
    for (index = 0; state && index < 1 << CACHE_BITS; index++)
        Py_CLEAR(state->cache[index].number);
    return 0;
}

static PyMethodDef methods[] = {
    {"read_directories", read_directories, METH_VARARGS, "See _listing.pyi."},
    {"columns", columns, METH_O, "See _listing.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.rootfs._listing",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_clear = clear_module,
};

PyMODINIT_FUNC PyInit__listing(void)
{
    return PyModuleDef_Init(&definition);
}
