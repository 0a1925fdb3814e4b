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
    PyObject *kept; /* the arguments, which own the columns */
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
    self->broken = 1;
    if (writing)
        raise_code(code, NULL, 0);
    else
        raise_code(code, self->tar.member.path, self->tar.member.path_length);
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

/* Append bytes, of Python, to the texts of the Tar. Return 0, or -1 and an exception. */
static int add_bytes(Text *text, const char *bytes, size_t count, size_t *start, uint32_t *length)
{
    if (count > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a path or a header is too long");
        return -1;
    }
    *start = text->used;
    *length = (uint32_t)count;
    if (!text_add(text, bytes, count))
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Append the target of a link. Return 0, or -1 and an exception. */
static int add_target(Text *text, PyObject *target, Rare *rare)
{
    PyObject *owner;
    size_t count;
    const char *bytes = path_bytes(target, &count, &owner);
    int bad = !bytes || add_bytes(text, bytes, count, &rare->head, &rare->target_length);

    Py_XDECREF(owner);
    return bad ? -1 : 0;
}

/* Read the rare fields of an entry. Return 0, or -1 and an exception. */
static int add_more(Text *text, PyObject *more, Rare *rare, int *has_attributes)
{
    PyObject *target, *rdev;

    if (!PyTuple_Check(more) || PyTuple_Size(more) != MORE_COUNT) {
        PyErr_SetString(PyExc_TypeError, "a target, a device number and extended attributes are expected");
        return -1;
    }
    target = PyTuple_GetItem(more, MORE_TARGET);
    rdev = PyTuple_GetItem(more, MORE_RDEV);
    *has_attributes = PyObject_Size(PyTuple_GetItem(more, MORE_XATTRS)) != 0;
    if (target != Py_None && !rare->is_hard_link && add_target(text, target, rare))
        return -1;
    if (rdev != Py_None && !PyTuple_Check(rdev))
        PyErr_SetString(PyExc_TypeError, "a device number is a pair");
    else if (rdev != Py_None)
        PyArg_ParseTuple(rdev, "II", &rare->major, &rare->minor);
    return PyErr_Occurred() ? -1 : 0;
}

/* Call Python to make the header of an entry. Return 0, or -1 and an exception. */
static int add_header(Text *text, Rare *rare, PyObject *make_header)
{
    PyObject *head = PyObject_CallFunction(make_header, "n", (Py_ssize_t)rare->index);
    char *bytes;
    Py_ssize_t count;
    int bad = !head || PyBytes_AsStringAndSize(head, &bytes, &count);

    if (!bad && count < BLOCK) {
        PyErr_SetString(PyExc_ValueError, "a header has too few bytes");
        bad = 1;
    }
    bad = bad || add_bytes(text, bytes, (size_t)count, &rare->head, &rare->head_length);
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

/* The arguments of TarStream that only the constructor needs. The caller owns them. */
typedef struct {
    PyObject *more, *links, *make_header;
} Objects;

/* Return 1 if an entry can have these numbers. */
static int is_possible(const long long row[ROW_COUNT])
{
    return row[ROW_KIND] >= 0 && row[ROW_KIND] < KIND_COUNT && row[ROW_MODE] >= 0 && row[ROW_MODE] <= 07777 &&
           row[ROW_UID] >= 0 && row[ROW_UID] <= UINT32_MAX && row[ROW_GID] >= 0 && row[ROW_GID] <= UINT32_MAX &&
           row[ROW_SIZE] >= 0;
}

/* Check the entry with this index, add its bytes to the total and keep what is rare about it. Return 0, or -1 and an
 * exception. */
static int add_entry(Tar *tar, size_t index, size_t paths, const Objects *objects)
{
    Rare rare = {.index = index};
    PyObject *more = NULL, *link = item_at(objects->links, index);
    long long row[ROW_COUNT], position;
    int has_attributes = 0;
    Member member;

    memcpy(&position, tar->columns.positions + index * sizeof position, sizeof position);
    if (position < -1 || position >= (long long)paths) {
        PyErr_SetString(PyExc_ValueError, "a position is not in the tree");
        return -1;
    }
    if (position >= 0) {
        memcpy(row, tar->columns.numbers + (size_t)position * sizeof row, sizeof row);
        if (!is_possible(row)) {
            PyErr_SetString(PyExc_ValueError, "a number of an entry is impossible");
            return -1;
        }
        more = item_at(objects->more, (size_t)position);
    }
    rare.is_hard_link = link != NULL;
    if (PyErr_Occurred() || (link && add_target(&tar->text, link, &rare)) ||
        (more && add_more(&tar->text, more, &rare, &has_attributes)))
        return -1;
    member = tar_member(tar, index, &rare);
    if (has_attributes || !tar_fits(tar, &member)) {
        if (add_header(&tar->text, &rare, objects->make_header))
            return -1;
        member.rare = rare;
    }
    if (tar_count(tar, &member)) {
        PyErr_SetString(PyExc_ValueError, "the layer is too large");
        return -1;
    }
    if ((more || link || rare.head_length) && tar_add_rare(tar, &rare)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void stream_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    tar_end(&((Stream *)object)->tar);
    Py_XDECREF(((Stream *)object)->kept);
    release(object);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Columns columns;
    Objects objects;
    Table paths;
    Py_ssize_t text_length, starts_length, numbers_length, positions_length, mtimes_length;
    const Py_ssize_t each = sizeof(long long);
    Stream *self;
    size_t index;
    int root;

    if (keywords && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "TarStream takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(arguments, "iy#y#y#O!y#y#O!O", &root, &columns.text, &text_length, &columns.starts, &starts_length,
                          &columns.numbers, &numbers_length, &PyDict_Type, &objects.more, &columns.positions,
                          &positions_length, &columns.mtimes, &mtimes_length, &PyDict_Type, &objects.links,
                          &objects.make_header) ||
        table_open(&paths, columns.text, text_length, columns.starts, starts_length))
        return NULL;
    columns.count = (size_t)(positions_length / each);
    if (numbers_length != (Py_ssize_t)paths.count * ROW_COUNT * each || mtimes_length != (Py_ssize_t)paths.count * each ||
        positions_length % each) {
        PyErr_SetString(PyExc_ValueError, "a row of numbers and a time are expected for each path");
        return NULL;
    }
    self = (Stream *)allocate(type, 0);
    if (!self)
        return NULL;
    self->kept = Py_NewRef(arguments);
    tar_start(&self->tar, root, &columns);
    if (text_reserve(&self->tar.text, BLOCK)) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (index = 0; index < columns.count; index++)
        if (add_entry(&self->tar, index, paths.count, &objects)) {
            Py_DECREF(self);
            return NULL;
        }
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
