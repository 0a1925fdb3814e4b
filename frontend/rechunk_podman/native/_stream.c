/* The tar of a layer, produced piece by piece without the interpreter's lock; ustar headers.
 *
 * The contract is in _stream.pyi, the format is told in tar.py, which makes every header that ustar cannot hold.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "stream.h"

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

/* Whether a stream may go on: it has not failed, and goes into a file or not. Returns 0, or -1 and an exception. */
static int check(const Stream *self, int into_file)
{
    if (!self->broken && !self->over && !self->piece == !into_file)
        return 0;
    PyErr_SetString(PyExc_ValueError, self->broken ? "the stream has failed"
                                      : self->over ? "the stream is over"
                                                   : "into() goes before advance(), and not with fill()");
    return -1;
}

/* Raises what was wrong with the member that was begun last. */
static void unread(Stream *self, int code)
{
    const Member *member = self->members + self->next - 1;

    self->broken = 1;
    confined_raise(code, self->text + member->path, (Py_ssize_t)member->path_length);
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
    if (limit < 0 || limit > PyByteArray_Size(buffer)) {
        PyErr_SetString(PyExc_ValueError, "the buffer is smaller");
        return NULL;
    }
    if (check(self, 0))
        return NULL;
    view = PyMemoryView_FromObject(buffer); /* as long as there is one, nobody can resize the buffer */
    if (!view)
        return NULL;
    start = PyByteArray_AsString(buffer);
    self->begun = 1;
    Py_BEGIN_ALLOW_THREADS
    code = fill(self, start, (size_t)limit, &filled);
    if (code || filled < (size_t)limit)
        let_go(self);
    Py_END_ALLOW_THREADS
    Py_DECREF(view);
    if (code) {
        unread(self, code);
        return NULL;
    }
    return PyLong_FromSize_t(filled);
}

static PyObject *stream_into(Stream *self, PyObject *arguments)
{
    long long offset;
    int target;

    if (!PyArg_ParseTuple(arguments, "iL", &target, &offset) || check(self, 0))
        return NULL;
    if (offset < 0 || self->begun || !sha256_here()) {
        PyErr_SetString(PyExc_ValueError, "not at this place, not any more, or not with this processor");
        return NULL;
    }
    self->piece = aligned_alloc(4096, PIECE);
    if (!self->piece)
        return PyErr_NoMemory();
    self->target = target;
    self->offset = offset;
    sha256_start(&self->hash);
    Py_RETURN_NONE;
}

static PyObject *stream_advance(Stream *self, PyObject *arguments)
{
    PyObject *other;
    Stream *streams[2] = {self}, *failed = NULL;
    long long most;
    int code, doing = READING, count = 1, at;

    if (!PyArg_ParseTuple(arguments, "OL", &other, &most))
        return NULL;
    if (other != Py_None) {
        if (!PyObject_TypeCheck(other, Py_TYPE(self)) || other == (PyObject *)self) {
            PyErr_SetString(PyExc_TypeError, "another TarStream, or None, is expected");
            return NULL;
        }
        streams[count++] = (Stream *)other;
    }
    for (at = 0; at < count; at++)
        if (check(streams[at], 1))
            return NULL;
    Py_BEGIN_ALLOW_THREADS
    code = advance(streams, count, most, &failed, &doing);
    for (at = 0; at < count; at++)
        if (code || streams[at]->over)
            let_go(streams[at]);
    Py_END_ALLOW_THREADS
    if (!code)
        Py_RETURN_NONE;
    if (doing == READING)
        unread(failed, code);
    else {
        PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", code, strerror(code));
        if (error)
            PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_XDECREF(error);
        failed->broken = 1;
    }
    return NULL;
}

static int keep_text(Stream *self, const char *text, size_t length, size_t *place)
{
    if (self->used + length + 1 > self->text_room) {
        size_t room = self->text_room + self->text_room / 4 + length + 4096;
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
           member->target_length <= NAME && is_ascii(self->text + member->head, member->target_length) &&
           row[ROW_UID] < MAX_ID && row[ROW_GID] < MAX_ID && member->size < LARGE && member->mtime >= 0 &&
           member->mtime < LARGE;
}

/* Notes a text of the member. Returns 0, or -1 and an exception. */
static int take_text(Stream *self, PyObject *given, size_t *place, uint32_t *length)
{
    PyObject *owner = NULL;
    size_t count = 0;
    const char *text = path_bytes(given, &count, &owner);
    int bad = !text || keep_text(self, text, count, place);

    if (!bad && count > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "no such path");
        bad = 1;
    }
    *length = (uint32_t)count;
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
        take_text(self, target, &member->head, &member->target_length))
        return -1;
    if (rdev != Py_None) {
        unsigned int major, minor;
        if (!PyTuple_Check(rdev) || !PyArg_ParseTuple(rdev, "II", &major, &minor)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a device number is a pair");
            return -1;
        }
        member->major = major;
        member->minor = minor;
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
    member->mode = (uint16_t)row[ROW_MODE];
    member->uid = (uint32_t)row[ROW_UID];
    member->gid = (uint32_t)row[ROW_GID];
    if (take_text(self, path, &member->path, &member->path_length) ||
        (link && take_text(self, link, &member->head, &member->target_length)) ||
        (more && take_more(self, member, more, &attributed)))
        return -1;
    if (attributed || !fits(self, member, row)) {
        char *bytes;
        Py_ssize_t count;
        PyObject *head = PyObject_CallFunction(make_header, "n", (Py_ssize_t)index);
        int bad = !head || PyBytes_AsStringAndSize(head, &bytes, &count) ||
                  keep_text(self, bytes, (size_t)count, &member->head);
        if (!bad && (count < BLOCK || count > INT32_MAX)) {
            PyErr_SetString(PyExc_ValueError, "no such header");
            bad = 1;
        }
        if (!bad)
            member->head_length = (uint32_t)count;
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

/* Columns, as stream_new() got them. */
typedef struct {
    PyObject *paths, *more, *links, *make_header;
    const char *numbers, *positions, *mtimes;
    Py_ssize_t count;
} Columns;

static int add_at(Stream *self, size_t index, const Columns *columns)
{
    static const long long root[ROW] = {KIND_DIRECTORY};
    long long row[ROW], position, mtime;
    PyObject *path, *more = NULL, *link = at_place(columns->links, index);

    memcpy(&position, columns->positions + index * sizeof position, sizeof position);
    memcpy(&mtime, columns->mtimes + index * sizeof mtime, sizeof mtime);
    if (PyErr_Occurred())
        return -1;
    if (position < -1 || position >= PyList_Size(columns->paths)) {
        PyErr_SetString(PyExc_ValueError, "no such position");
        return -1;
    }
    if (position < 0) {
        int bad;
        memcpy(row, root, sizeof row);
        path = PyUnicode_FromStringAndSize("", 0);
        bad = !path || add_member(self, index, path, row, mtime, NULL, link, columns->make_header);
        Py_XDECREF(path);
        return bad ? -1 : 0;
    }
    memcpy(row, columns->numbers + (size_t)position * sizeof row, sizeof row);
    path = PyList_GetItem(columns->paths, (Py_ssize_t)position);
    more = at_place(columns->more, (size_t)position);
    return PyErr_Occurred() ? -1 : add_member(self, index, path, row, mtime, more, link, columns->make_header);
}

static int add_members(Stream *self, const Columns *columns)
{
    size_t index, count = (size_t)columns->count;

    /* mostly all that it will take; grown bit by bit it takes twice the memory */
    for (index = 0; index < count; index++) {
        long long position;
        memcpy(&position, columns->positions + index * sizeof position, sizeof position);
        if (position >= 0 && position < PyList_Size(columns->paths)) {
            PyObject *path = PyList_GetItem(columns->paths, (Py_ssize_t)position);
            self->text_room += PyUnicode_Check(path) ? (size_t)PyUnicode_GetLength(path) + 1 : 0;
        }
    }
    self->text_room += BLOCK;
    self->text = PyMem_Malloc(self->text_room);
    self->members = PyMem_Malloc((count + 1) * sizeof *self->members);
    if (!self->text || !self->members) {
        PyErr_NoMemory();
        return -1;
    }
    for (index = 0; index < count; index++)
        if (add_at(self, index, columns))
            return -1;
    return 0;
}

static void stream_dealloc(Stream *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    let_go(self);
    free(self->piece);
    PyMem_Free(self->members);
    PyMem_Free(self->text);
    release(self);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Columns columns;
    Py_ssize_t numbers_length, positions_length, mtimes_length;
    Stream *self;
    int root;

    if (keywords && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "no keywords are taken");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "iO!y#O!y#y#O!O", &root, &PyList_Type, &columns.paths, &columns.numbers, &numbers_length,
                          &PyDict_Type, &columns.more, &columns.positions, &positions_length, &columns.mtimes, &mtimes_length,
                          &PyDict_Type, &columns.links, &columns.make_header))
        return NULL;
    columns.count = mtimes_length / (Py_ssize_t)sizeof(long long);
    if (numbers_length != PyList_Size(columns.paths) * ROW * (Py_ssize_t)sizeof(long long) ||
        positions_length != mtimes_length || mtimes_length % (Py_ssize_t)sizeof(long long)) {
        PyErr_SetString(PyExc_ValueError, "a row of numbers is expected for each path, a time for each position");
        return NULL;
    }
    self = (Stream *)allocate(type, 0);
    if (!self)
        return NULL;
    self->root = root;
    self->file.fd = self->target = -1;
    self->total = END;
    confined_start(&self->confined, root);
    if (add_members(self, &columns)) {
        Py_CLEAR(self);
    } else {
        char *fitting = PyMem_Realloc(self->text, self->used + 1);
        self->text = fitting ? fitting : self->text;
    }
    return (PyObject *)self;
}

static PyObject *stream_size(Stream *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->total);
}

static PyObject *stream_broken(Stream *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->broken);
}

static PyObject *stream_digest(Stream *self, void *closure)
{
    unsigned char digest[SHA256_SIZE];
    Sha256 hash = self->hash; /* it may be asked for again */

    (void)closure;
    if (!self->over)
        Py_RETURN_NONE;
    if (hash.blocks * SHA256_BLOCK != self->total) {
        PyErr_SetString(PyExc_RuntimeError, "the layer has other bytes than were announced");
        return NULL;
    }
    sha256_end(&hash, (unsigned char *)self->piece, 0, digest);
    return PyBytes_FromStringAndSize((char *)digest, sizeof digest);
}

static PyMethodDef stream_methods[] = {
    {"into", (PyCFunction)stream_into, METH_VARARGS, "See _stream.pyi."},
    {"advance", (PyCFunction)stream_advance, METH_VARARGS, "See _stream.pyi."},
    {"fill", (PyCFunction)stream_fill, METH_VARARGS, "See _stream.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef stream_values[] = {
    {"size", (getter)stream_size, NULL, "See _stream.pyi.", NULL},
    {"broken", (getter)stream_broken, NULL, "See _stream.pyi.", NULL},
    {"digest", (getter)stream_digest, NULL, "See _stream.pyi.", NULL},
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
    .name = "rechunk_podman.native._stream.TarStream",
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

static PyObject *pairs(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyBool_FromLong(sha256_here());
}

static PyMethodDef methods[] = {
    {"can_advance", pairs, METH_NOARGS, "See _stream.pyi."},
    {"ustar", ustar, METH_VARARGS, "See _stream.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.native._stream",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__stream(void)
{
    return PyModuleDef_Init(&definition);
}
