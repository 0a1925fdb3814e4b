/* The tar of a layer, produced piece by piece without the interpreter's lock; ustar headers.
 *
 * The contract is in _stream.pyi, the format is told in tar.py, which makes every header that ustar cannot hold.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include <sys/stat.h>

#include "../rootfs/confined.h"

#define BLOCK 512
#define NAME 100
#define PREFIX 155
#define END (2 * BLOCK)
#define MAX_ID (1L << 21)   /* what seven octal digits no longer hold */
#define LARGE (1LL << 33)   /* and eleven */

/* Flags by the place of a kind in model.Kind, whose first three have a size, a slash and a target. */
static const char TYPES[] = "052634";
enum { KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KINDS = sizeof TYPES - 1 };
#define HARD_LINK '1'

/* The numbers of an Entry (model.py: NUMBERS), and what few have besides (More). */
enum { ROW_KIND, ROW_MODE, ROW_UID, ROW_GID, ROW_SIZE, ROW_MTIME, ROW = 9 };
enum { MORE_TARGET, MORE_RDEV, MORE_XATTRS };

static void octal(char *at, int digits, unsigned long long value)
{
    at[digits] = '\0';
    while (digits--) {
        at[digits] = (char)('0' + (value & 7));
        value >>= 3;
    }
}

typedef struct {
    const char *name, *target, *prefix;
    size_t name_length, target_length, prefix_length;
    unsigned long long size, mtime;
    unsigned int mode, uid, gid, major, minor;
    char type;
} Header;

static void format(char *block, const Header *header)
{
    unsigned int sum = 0;
    int at;

    memset(block, 0, BLOCK);
    memcpy(block, header->name, header->name_length);
    octal(block + 100, 7, header->mode);
    octal(block + 108, 7, header->uid);
    octal(block + 116, 7, header->gid);
    octal(block + 124, 11, header->size);
    octal(block + 136, 11, header->mtime);
    memset(block + 148, ' ', 8);
    block[156] = header->type;
    if (header->target_length)
        memcpy(block + 157, header->target, header->target_length);
    memcpy(block + 257, "ustar\0" "00", 8);
    octal(block + 329, 7, header->major);
    octal(block + 337, 7, header->minor);
    if (header->prefix_length)
        memcpy(block + 345, header->prefix, header->prefix_length);
    for (at = 0; at < BLOCK; at++)
        sum += (unsigned char)block[at];
    octal(block + 148, 6, sum);
}

static PyObject *ustar(PyObject *module, PyObject *arguments)
{
    Header header;
    Py_ssize_t name, target, prefix;
    char type, block[BLOCK];

    (void)module;
    memset(&header, 0, sizeof header);
    if (!PyArg_ParseTuple(arguments, "y#cIIIKKy#IIy#", &header.name, &name, &type, &header.mode, &header.uid, &header.gid,
                          &header.size, &header.mtime, &header.target, &target, &header.major, &header.minor,
                          &header.prefix, &prefix))
        return NULL;
    if (name > NAME || target > NAME || prefix > PREFIX) {
        PyErr_SetString(PyExc_ValueError, "ustar cannot hold this entry");
        return NULL;
    }
    header.type = type;
    header.name_length = (size_t)name;
    header.target_length = (size_t)target;
    header.prefix_length = (size_t)prefix;
    format(block, &header);
    return PyBytes_FromStringAndSize(block, BLOCK);
}

/* One entry of the layer. Places are those in Stream.text. */
typedef struct {
    size_t path, path_length;   /* as the root filesystem has it */
    size_t head, head_length;   /* header blocks that were made elsewhere; else none, and what follows counts */
    size_t target, target_length;
    long long size, mtime, seen;
    unsigned int mode, uid, gid, major, minor;
    char type;
} Member;

typedef struct {
    PyObject_HEAD
    Member *members;
    size_t count;
    char *text;
    size_t used, text_room;
    unsigned long long total;
    int root;
    int broken;                 /* it raised: there is nothing more to be had */
    /* Where the stream stands. */
    Confined confined;
    size_t next;                /* the member that follows */
    const char *rest;           /* of a header */
    size_t rest_length;
    char block[BLOCK];
    int file;                   /* being read, or -1 */
    long long left;
    struct stat before;
    size_t zeros;               /* to come: padding, or the end of the archive */
    int ended;
} Stream;

/* Runs without the interpreter's lock. Returns 0, or what was wrong with the member that was begun last. */
static int fill(Stream *self, char *buffer, size_t limit, size_t *filled)
{
    size_t used = 0;

    while (used < limit) {
        if (self->rest_length) {
            size_t part = self->rest_length < limit - used ? self->rest_length : limit - used;
            memcpy(buffer + used, self->rest, part);
            self->rest += part;
            self->rest_length -= part;
            used += part;
        } else if (self->left) {
            size_t part = (size_t)self->left < limit - used ? (size_t)self->left : limit - used;
            ssize_t got = read(self->file, buffer + used, part);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return got ? errno : CONFINED_CHANGED;
            used += (size_t)got;
            self->left -= got;
        } else if (self->file >= 0) {
            int code = confined_unchanged(self->file, &self->before);
            if (code)
                return code;
            close(self->file);
            self->file = -1;
        } else if (self->zeros) {
            size_t part = self->zeros < limit - used ? self->zeros : limit - used;
            memset(buffer + used, 0, part);
            self->zeros -= part;
            used += part;
        } else if (self->next < self->count) {
            const Member *member = self->members + self->next++;
            const char *path = self->text + member->path;
            if (member->head_length) {
                self->rest = self->text + member->head;
                self->rest_length = member->head_length;
            } else {
                char name[NAME];
                Header header = {.name = path, .name_length = member->path_length, .target = self->text + member->target,
                                 .target_length = member->target_length, .size = (unsigned long long)member->size,
                                 .mtime = (unsigned long long)member->mtime, .mode = member->mode, .uid = member->uid,
                                 .gid = member->gid, .major = member->major, .minor = member->minor, .type = member->type};
                if (member->type == TYPES[KIND_DIRECTORY]) {
                    memcpy(name, path, member->path_length);
                    name[header.name_length++] = '/';
                    header.name = name;
                }
                format(self->block, &header);
                self->rest = self->block;
                self->rest_length = BLOCK;
            }
            if (member->size) {
                int code = 0;
                self->file = confined_file(&self->confined, path, member->path_length, member->size, member->seen,
                                           &self->before, &code);
                if (self->file < 0)
                    return code;
                self->left = member->size;
                self->zeros = (size_t)(-member->size & (BLOCK - 1));
            }
        } else if (!self->ended) {
            self->ended = 1;
            self->zeros = END;
        } else {
            break;
        }
    }
    *filled = used;
    return 0;
}

static void let_go(Stream *self)
{
    if (self->file >= 0)
        close(self->file);
    self->file = -1;
    confined_end(&self->confined);
    confined_start(&self->confined, self->root);
}

static PyObject *stream_fill(Stream *self, PyObject *arguments)
{
    PyObject *buffer, *view;
    Py_ssize_t limit;
    char *start;
    size_t filled = 0;
    int code;

    if (!PyArg_ParseTuple(arguments, "O!n", &PyByteArray_Type, &buffer, &limit))
        return NULL;
    if (limit < 0 || limit > PyByteArray_Size(buffer) || self->broken) {
        PyErr_SetString(PyExc_ValueError, self->broken ? "the stream has failed" : "the buffer is smaller");
        return NULL;
    }
    view = PyMemoryView_FromObject(buffer); /* as long as there is one, nobody can resize the buffer */
    if (!view)
        return NULL;
    start = PyByteArray_AsString(buffer);
    Py_BEGIN_ALLOW_THREADS
    code = fill(self, start, (size_t)limit, &filled);
    if (code || filled < (size_t)limit)
        let_go(self);
    Py_END_ALLOW_THREADS
    Py_DECREF(view);
    if (code) {
        const Member *member = self->members + self->next - 1;
        self->broken = 1;
        confined_raise(code, self->text + member->path, (Py_ssize_t)member->path_length);
        return NULL;
    }
    return PyLong_FromSize_t(filled);
}

static int keep_text(Stream *self, const char *text, size_t length, size_t *place)
{
    if (self->used + length + 1 > self->text_room) {
        size_t room = 2 * self->text_room + length + 4096;
        char *grown = PyMem_Realloc(self->text, room);
        if (!grown) {
            PyErr_NoMemory();
            return -1;
        }
        self->text = grown;
        self->text_room = room;
    }
    *place = self->used;
    memcpy(self->text + self->used, text, length);
    self->text[self->used + length] = '\0';
    self->used += length + 1;
    return 0;
}

/* The bytes of a path; `owner` has to be let go of after their use. */
static const char *path_bytes(PyObject *path, size_t *length, PyObject **owner)
{
    Py_ssize_t size;
    char *text;

    *owner = PyUnicode_AsEncodedString(path, "utf-8", "surrogateescape");
    if (!*owner || PyBytes_AsStringAndSize(*owner, &text, &size))
        return NULL;
    *length = (size_t)size;
    return text;
}

static int is_ascii(const char *text, size_t length)
{
    while (length--)
        if (*text++ & 0x80)
            return 0;
    return 1;
}

/* Whether ustar holds the member, which is complete but for its header. */
static int fits(const Stream *self, const Member *member, const long long *row)
{
    size_t length = member->path_length + (member->type == TYPES[KIND_DIRECTORY]);
    return member->path_length && length <= NAME && is_ascii(self->text + member->path, member->path_length) &&
           member->target_length <= NAME && is_ascii(self->text + member->target, member->target_length) &&
           row[ROW_UID] < MAX_ID && row[ROW_GID] < MAX_ID && member->size < LARGE && member->mtime >= 0 &&
           member->mtime < LARGE;
}

/* Notes a text of the member. Returns 0, or -1 and an exception. */
static int take_text(Stream *self, PyObject *given, size_t *place, size_t *length)
{
    PyObject *owner = NULL;
    const char *text = path_bytes(given, length, &owner);
    int bad = !text || keep_text(self, text, *length, place);
    Py_XDECREF(owner);
    return bad ? -1 : 0;
}

/* What few members have: target, device number, extended attributes. */
static int take_more(Stream *self, Member *member, PyObject *more, int *attributed)
{
    PyObject *target, *rdev;

    if (!PyTuple_Check(more) || PyTuple_Size(more) != MORE_XATTRS + 1) {
        PyErr_SetString(PyExc_TypeError, "a target, a device number and extended attributes are expected");
        return -1;
    }
    target = PyTuple_GetItem(more, MORE_TARGET);
    rdev = PyTuple_GetItem(more, MORE_RDEV);
    *attributed = PyObject_Size(PyTuple_GetItem(more, MORE_XATTRS)) != 0;
    if (target != Py_None && member->type != HARD_LINK &&
        take_text(self, target, &member->target, &member->target_length))
        return -1;
    if (rdev != Py_None && (!PyTuple_Check(rdev) || !PyArg_ParseTuple(rdev, "II", &member->major, &member->minor))) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a device number is a pair");
        return -1;
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int add_member(Stream *self, size_t index, PyObject *path, const long long *row, long long mtime, PyObject *more,
                      PyObject *link, PyObject *make_header)
{
    Member *member = self->members + index;
    int attributed = 0;

    if (row[ROW_KIND] < 0 || row[ROW_KIND] >= KINDS || row[ROW_SIZE] < 0) {
        PyErr_SetString(PyExc_ValueError, "no such entry");
        return -1;
    }
    memset(member, 0, sizeof *member);
    self->count = index + 1;
    member->type = link ? HARD_LINK : TYPES[row[ROW_KIND]];
    member->size = link ? 0 : row[ROW_SIZE];
    member->mtime = mtime;
    member->seen = row[ROW_MTIME];
    member->mode = (unsigned int)row[ROW_MODE];
    member->uid = (unsigned int)row[ROW_UID];
    member->gid = (unsigned int)row[ROW_GID];
    if (take_text(self, path, &member->path, &member->path_length) ||
        (link && take_text(self, link, &member->target, &member->target_length)) ||
        (more && take_more(self, member, more, &attributed)))
        return -1;
    if (attributed || !fits(self, member, row)) {
        char *bytes;
        Py_ssize_t count;
        PyObject *head = PyObject_CallFunction(make_header, "n", (Py_ssize_t)index);
        int bad = !head || PyBytes_AsStringAndSize(head, &bytes, &count) ||
                  keep_text(self, bytes, (size_t)count, &member->head);
        if (!bad)
            member->head_length = (size_t)count;
        Py_XDECREF(head);
        if (bad)
            return -1;
    }
    self->total += member->head_length ? member->head_length : BLOCK;
    self->total += ((unsigned long long)member->size + BLOCK - 1) & ~(unsigned long long)(BLOCK - 1);
    return 0;
}

/* What a dictionary has for a place, NULL where there is nothing (or, with an exception, on failure). */
static PyObject *at_place(PyObject *dictionary, size_t place)
{
    PyObject *key, *found;

    if (!PyDict_Size(dictionary) || !(key = PyLong_FromSize_t(place)))
        return NULL;
    found = PyDict_GetItemWithError(dictionary, key);
    Py_DECREF(key);
    return found;
}

static int add_members(Stream *self, PyObject *paths, const char *numbers, const char *mtimes, PyObject *more, PyObject *links,
                       PyObject *make_header)
{
    size_t index, count = (size_t)PyList_Size(paths);

    self->members = PyMem_Malloc((count + 1) * sizeof *self->members);
    if (!self->members) {
        PyErr_NoMemory();
        return -1;
    }
    for (index = 0; index < count; index++) {
        long long row[ROW], mtime;
        PyObject *rest = at_place(more, index), *link = PyErr_Occurred() ? NULL : at_place(links, index);
        memcpy(row, numbers + index * sizeof row, sizeof row);
        memcpy(&mtime, mtimes + index * sizeof mtime, sizeof mtime);
        if (PyErr_Occurred() ||
            add_member(self, index, PyList_GetItem(paths, (Py_ssize_t)index), row, mtime, rest, link, make_header))
            return -1;
    }
    return 0;
}

static void stream_dealloc(Stream *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    let_go(self);
    PyMem_Free(self->members);
    PyMem_Free(self->text);
    release(self);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *paths, *more, *links, *make_header;
    const char *numbers, *mtimes;
    Py_ssize_t count, numbers_length, mtimes_length;
    Stream *self;
    int root;

    if (keywords && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "no keywords are taken");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "iO!y#y#O!O!O", &root, &PyList_Type, &paths, &numbers, &numbers_length, &mtimes,
                          &mtimes_length, &PyDict_Type, &more, &PyDict_Type, &links, &make_header))
        return NULL;
    count = PyList_Size(paths);
    if (numbers_length != count * ROW * (Py_ssize_t)sizeof(long long) || mtimes_length != count * (Py_ssize_t)sizeof(long long)) {
        PyErr_SetString(PyExc_ValueError, "a row of numbers and a time are expected for each path");
        return NULL;
    }
    self = (Stream *)allocate(type, 0);
    if (!self)
        return NULL;
    self->root = root;
    self->file = -1;
    self->total = END;
    confined_start(&self->confined, root);
    if (add_members(self, paths, numbers, mtimes, more, links, make_header))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *stream_size(Stream *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->total);
}

static PyMethodDef stream_methods[] = {
    {"fill", (PyCFunction)stream_fill, METH_VARARGS, "See _stream.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_values[] = {
    {"size", (getter)stream_size, NULL, "See _stream.pyi.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_values},
    {Py_tp_doc, "See _stream.pyi."},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "rechunk_podman.oci._stream.TarStream",
    .basicsize = sizeof(Stream),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = stream_slots,
};

static int start(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&stream_spec);
    if (!type || PyModule_AddObject(module, "TarStream", type)) {
        Py_XDECREF(type);
        return -1;
    }
    return 0;
}

static PyMethodDef methods[] = {
    {"ustar", ustar, METH_VARARGS, "See _stream.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.oci._stream",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__stream(void)
{
    return PyModuleDef_Init(&definition);
}
