/* The Python type TarStream and the Python function ustar(). */

#include "objects.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

#include "table.h"
#include "tar.h"

/* The type TarStream. The flags are read and set under the interpreter's lock; `in_use` is set while it is released. */
typedef struct {
    PyObject_HEAD
    Tar tar;
    char broken; /* after an error: the stream cannot be read any more */
    char in_use;
} Stream;

PyObject *ustar(PyObject *module, PyObject *arguments)
{
    Header header = {0};
    Py_ssize_t name, target, prefix;
    char block[BLOCK];

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#cIIIKKy#IIy#", &header.name, &name, &header.type, &header.mode, &header.uid,
                          &header.gid, &header.size, &header.mtime, &header.target, &target, &header.major, &header.minor,
                          &header.prefix, &prefix))
        return NULL;
    if (name > NAME || target > NAME || prefix > PREFIX || header.mode >= MAX_ID || header.uid >= MAX_ID ||
        header.gid >= MAX_ID || header.size >= MAX_NUMBER || header.mtime >= MAX_NUMBER || header.major >= MAX_ID ||
        header.minor >= MAX_ID) {
        PyErr_SetString(PyExc_ValueError, "ustar cannot hold this entry");
        return NULL;
    }
    header.name_length = (size_t)name;
    header.target_length = (size_t)target;
    header.prefix_length = (size_t)prefix;
    header_format(block, &header);
    return PyBytes_FromStringAndSize(block, BLOCK);
}

/* Raise the error of the target, if `writing`, or of the most recently begun member. */
static void fail(Stream *self, int code, int writing)
{
    const Member *member = self->tar.members + self->tar.next - 1;

    self->broken = 1;
    if (writing)
        raise_code(code, NULL, 0);
    else
        raise_code(code, self->tar.text.bytes + member->path, member->path_length);
}

static PyObject *stream_fill(PyObject *object, PyObject *arguments)
{
    Stream *self = (Stream *)object;
    PyObject *buffer, *view;
    Py_ssize_t limit;
    long long offset = 0;
    char *start;
    size_t filled = 0;
    int target = -1, writing = 0, code;

    if (!PyArg_ParseTuple(arguments, "O!n|iL", &PyByteArray_Type, &buffer, &limit, &target, &offset))
        return NULL;
    if (limit < 0 || limit > PyByteArray_Size(buffer) || offset < 0) {
        PyErr_SetString(PyExc_ValueError, "the buffer is smaller, or the offset negative");
        return NULL;
    }
    if (self->in_use || self->broken) {
        PyErr_SetString(PyExc_ValueError, self->in_use ? "another thread uses the stream" : "the stream has failed");
        return NULL;
    }
    view = PyMemoryView_FromObject(buffer); /* nobody can resize the buffer while there is a view of it */
    if (!view)
        return NULL;
    start = PyByteArray_AsString(buffer);
    self->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    if (target < 0)
        code = tar_fill(&self->tar, start, (size_t)limit, &filled);
    else
        code = tar_copy(&self->tar, start, (size_t)limit, target, offset, &filled, &writing);
    if (code || filled < (size_t)limit)
        tar_close(&self->tar);
    Py_END_ALLOW_THREADS
    self->in_use = 0;
    Py_DECREF(view);
    if (code) {
        fail(self, code, writing);
        return NULL;
    }
    return PyLong_FromSize_t(filled);
}

/* Append bytes and a zero byte to the texts of members. Return 0, or -1 and an exception. */
static int add_bytes(Text *text, const char *bytes, size_t count, size_t *start, uint32_t *length)
{
    if (count > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a path is too long");
        return -1;
    }
    *start = text->used;
    *length = (uint32_t)count;
    if (!text_add(text, bytes, count + 1))
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Append a text like add_bytes(). */
static int add_text(Text *text, PyObject *given, size_t *start, uint32_t *length)
{
    PyObject *owner;
    size_t count;
    const char *bytes = path_bytes(given, &count, &owner);
    int bad = !bytes || add_bytes(text, bytes, count, start, length);

    Py_XDECREF(owner);
    return bad ? -1 : 0;
}

/* Read the rare fields of a member. Return 0, or -1 and an exception. */
static int add_more(Text *text, Member *member, PyObject *more, int *attributed)
{
    PyObject *target, *rdev;

    if (!PyTuple_Check(more) || PyTuple_Size(more) != MORE_COUNT) {
        PyErr_SetString(PyExc_TypeError, "a target, a device number and extended attributes are expected");
        return -1;
    }
    target = PyTuple_GetItem(more, MORE_TARGET);
    rdev = PyTuple_GetItem(more, MORE_RDEV);
    *attributed = PyObject_Size(PyTuple_GetItem(more, MORE_XATTRS)) != 0;
    if (target != Py_None && member->type != HARD_LINK && add_text(text, target, &member->head, &member->target_length))
        return -1;
    if (rdev != Py_None && !PyTuple_Check(rdev))
        PyErr_SetString(PyExc_TypeError, "a device number is a pair");
    else if (rdev != Py_None)
        PyArg_ParseTuple(rdev, "II", &member->major, &member->minor);
    return PyErr_Occurred() ? -1 : 0;
}

/* Call Python to make the header of the member with this index. Return 0, or -1 and an exception. */
static int add_header(Text *text, Member *member, size_t index, PyObject *make_header)
{
    PyObject *head = PyObject_CallFunction(make_header, "n", (Py_ssize_t)index);
    char *bytes;
    Py_ssize_t count;
    int bad = !head || PyBytes_AsStringAndSize(head, &bytes, &count);

    if (!bad && (count < BLOCK || count > INT32_MAX)) {
        PyErr_SetString(PyExc_ValueError, "a header has too few or too many bytes");
        bad = 1;
    }
    if (!bad) {
        member->head = text->used;
        member->head_length = (uint32_t)count;
        if ((bad = text_add(text, bytes, (size_t)count)))
            PyErr_NoMemory();
    }
    Py_XDECREF(head);
    return bad ? -1 : 0;
}

/* Return the value for a position in a dictionary: borrowed, or NULL, with an exception on failure. */
static PyObject *item_at(PyObject *dictionary, size_t position)
{
    PyObject *key, *found;

    if (!PyDict_Size(dictionary) || !(key = PyLong_FromSize_t(position)))
        return NULL;
    found = PyDict_GetItemWithError(dictionary, key);
    Py_DECREF(key);
    return found;
}

/* The arguments of TarStream. The caller owns them. */
typedef struct {
    Table paths;
    PyObject *more, *links, *make_header;
    const char *numbers, *positions, *mtimes;
    size_t count;
} Columns;

/* Set *position to the position of the member with this index. Return its path, or NULL and an exception. */
static const char *path_at(const Columns *columns, size_t index, long long *position, size_t *length)
{
    memcpy(position, columns->positions + index * sizeof *position, sizeof *position);
    return table_path(&columns->paths, *position, length);
}

/* Add the next member. Return 0, or -1 and an exception. */
static int add_member(Tar *tar, const Columns *columns)
{
    const size_t index = tar->count;
    Member *member = tar->members + index;
    long long row[ROW_COUNT] = {KIND_DIRECTORY}, position, mtime;
    PyObject *more = NULL, *link = item_at(columns->links, index);
    size_t length;
    const char *path = PyErr_Occurred() ? NULL : path_at(columns, index, &position, &length);
    int attributed = 0;

    if (!path)
        return -1;
    memcpy(&mtime, columns->mtimes + index * sizeof mtime, sizeof mtime);
    if (position >= 0) {
        memcpy(row, columns->numbers + (size_t)position * sizeof row, sizeof row);
        more = item_at(columns->more, (size_t)position);
        if (PyErr_Occurred())
            return -1;
    }
    if (row[ROW_KIND] < 0 || row[ROW_KIND] >= KIND_COUNT || row[ROW_MODE] < 0 || row[ROW_MODE] > 07777 || row[ROW_UID] < 0 ||
        row[ROW_UID] > UINT32_MAX || row[ROW_GID] < 0 || row[ROW_GID] > UINT32_MAX || row[ROW_SIZE] < 0) {
        PyErr_SetString(PyExc_ValueError, "a number of an entry is impossible");
        return -1;
    }
    *member = (Member){.type = link ? HARD_LINK : tar_type((int)row[ROW_KIND]), .size = link ? 0 : row[ROW_SIZE],
                       .mtime = mtime, .seen = row[ROW_MTIME], .mode = (uint16_t)row[ROW_MODE],
                       .uid = (uint32_t)row[ROW_UID], .gid = (uint32_t)row[ROW_GID]};
    if (add_bytes(&tar->text, path, length, &member->path, &member->path_length) ||
        (link && add_text(&tar->text, link, &member->head, &member->target_length)) ||
        (more && add_more(&tar->text, member, more, &attributed)) ||
        ((attributed || !tar_fits(tar, member)) && add_header(&tar->text, member, index, columns->make_header)))
        return -1;
    if (tar_count(tar, member)) {
        PyErr_SetString(PyExc_ValueError, "the layer is too large");
        return -1;
    }
    tar->count++;
    return 0;
}

/* Add all members. Return 0, or -1 and an exception. */
static int add_members(Tar *tar, const Columns *columns)
{
    size_t index, room = BLOCK;

    /* mostly sufficient: growing in small steps takes twice the memory */
    for (index = 0; index < columns->count; index++) {
        long long position;
        size_t length;
        if (!path_at(columns, index, &position, &length))
            return -1;
        room += length + 1;
    }
    tar->members = malloc((columns->count + 1) * sizeof *tar->members);
    if (!tar->members || text_reserve(&tar->text, room)) {
        PyErr_NoMemory();
        return -1;
    }
    for (index = 0; index < columns->count; index++)
        if (add_member(tar, columns))
            return -1;
    return 0;
}

static void stream_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    tar_end(&((Stream *)object)->tar);
    release(object);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Columns columns;
    const char *text, *starts;
    Py_ssize_t text_length, starts_length, numbers_length, positions_length, mtimes_length;
    Stream *self;
    int root;

    if (keywords && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "TarStream takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "iy#y#y#O!y#y#O!O", &root, &text, &text_length, &starts, &starts_length, &columns.numbers,
                          &numbers_length, &PyDict_Type, &columns.more, &columns.positions, &positions_length, &columns.mtimes,
                          &mtimes_length, &PyDict_Type, &columns.links, &columns.make_header) ||
        table_open(&columns.paths, text, text_length, starts, starts_length))
        return NULL;
    columns.count = (size_t)mtimes_length / sizeof(long long);
    if ((size_t)numbers_length != columns.paths.count * ROW_COUNT * sizeof(long long) ||
        positions_length != mtimes_length || mtimes_length % (Py_ssize_t)sizeof(long long)) {
        PyErr_SetString(PyExc_ValueError, "a row of numbers is expected for each path, a time for each position");
        return NULL;
    }
    self = (Stream *)allocate(type, 0);
    if (!self)
        return NULL;
    tar_start(&self->tar, root);
    if (add_members(&self->tar, &columns))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef stream_methods[] = {
    {"fill", stream_fill, METH_VARARGS, "See _native.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef stream_members[] = {
    {"size", T_ULONGLONG, offsetof(Stream, tar.total), READONLY, "See _native.pyi."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_methods, stream_methods},
    {Py_tp_members, stream_members},
    {Py_tp_doc, "See _native.pyi."},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "rechunk_podman.native._native.TarStream",
    .basicsize = sizeof(Stream),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = stream_slots,
};

int add_tar_stream(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&stream_spec);

    if (!type || PyModule_AddObject(module, "TarStream", type)) {
        Py_XDECREF(type);
        return -1;
    }
    return 0;
}
