/* The contents of many files, or their digests, read without the interpreter's lock.
 *
 * The contract is in _contents.pyi.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "sha256.h"
#include "confined.h"

typedef struct {
    PyObject *owner; /* of the bytes of the path */
    const char *path;
    Py_ssize_t length;
    long long size, mtime;
} File;

/* Puts the contents one behind the other into `data`. Returns 0, or what was wrong with the file at *index. */
static int read_all(int root, const File *files, size_t count, char *data, size_t *index)
{
    Confined confined;
    int code = 0;

    confined_start(&confined, root);
    for (*index = 0; *index < count; ++*index) {
        const File *file = files + *index;
        ConfinedFile open;
        size_t got = 0;
        code = confined_open(&confined, file->path, (size_t)file->length, file->size, file->mtime, &open);
        while (!code && open.left)
            if (!(code = confined_read(&open, data, (size_t)open.left, &got)))
                data += got;
        if (!code)
            code = confined_done(&open);
        confined_close(&open);
        if (code)
            break;
    }
    confined_end(&confined);
    return code;
}

/* Bytes of a file that are read and hashed at once: they stay in the processor's cache meanwhile. */
#define PIECE (1 << 16)
#define LANES 2

/* A file that is being hashed. */
typedef struct {
    ConfinedFile file; /* its descriptor is -1 where there is none */
    size_t index;      /* among the files */
    Sha256 hash;
    size_t used;       /* bytes of the piece */
    unsigned char piece[PIECE];
} Lane;

static int fill_piece(Lane *lane)
{
    int code = 0;

    lane->used = 0;
    while (!code && lane->file.left && lane->used < PIECE) {
        size_t got = 0;
        code = confined_read(&lane->file, (char *)lane->piece + lane->used, PIECE - lane->used, &got);
        lane->used += got;
    }
    return code;
}

/* Hashes what one lane has read, or two. */
static void hash_pieces(Lane **lanes, int count)
{
    Sha256 *hashes[LANES];
    const unsigned char *data[LANES];
    size_t lengths[LANES];
    int at;

    for (at = 0; at < count; at++) {
        hashes[at] = &lanes[at]->hash;
        data[at] = lanes[at]->piece;
        lengths[at] = lanes[at]->used;
    }
    sha256_blocks(hashes, data, lengths, count);
}

static int finish_file(Lane *lane, char *data)
{
    size_t rest = lane->used % SHA256_BLOCK;

    sha256_end(&lane->hash, lane->piece + lane->used - rest, rest, (unsigned char *)data + lane->index * SHA256_SIZE);
    return confined_done(&lane->file);
}

/* Puts the SHA-256 of each into `data`. Returns as read_all(). */
static int digest_all(int root, const File *files, size_t count, char *data, size_t *index)
{
    Confined confined;
    Lane *lanes = malloc(LANES * sizeof *lanes);
    size_t next = 0;
    int code = lanes ? 0 : ENOMEM, at, busy = 1;

    *index = 0;
    confined_start(&confined, root);
    for (at = 0; lanes && at < LANES; at++) {
        lanes[at].file.fd = -1;
        lanes[at].index = 0;
    }
    while (!code && busy) {
        Lane *going[LANES];
        for (at = busy = 0; !code && at < LANES; at++) {
            Lane *lane = lanes + at;
            if (lane->file.fd < 0 && next < count) {
                const File *file = files + (lane->index = next++);
                sha256_start(&lane->hash);
                code = confined_open(&confined, file->path, (size_t)file->length, file->size, file->mtime, &lane->file);
            }
            if (!code && lane->file.fd >= 0) {
                code = fill_piece(lane);
                going[busy++] = lane;
            }
            *index = lane->index;
        }
        if (!code)
            hash_pieces(going, busy);
        for (at = 0; !code && at < busy; at++)
            if (!going[at]->file.left) {
                code = finish_file(going[at], data);
                *index = going[at]->index;
            }
    }
    for (at = 0; lanes && at < LANES; at++)
        confined_close(&lanes[at].file);
    confined_end(&confined);
    free(lanes);
    return code;
}

static int take_file(PyObject *item, File *file, unsigned long long *total)
{
    PyObject *path;
    char *text;

    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "ULL", &path, &file->size, &file->mtime)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "files are tuples of path, size and mtime");
        return -1;
    }
    if (file->size < 0 || *total + (unsigned long long)file->size > PY_SSIZE_T_MAX) {
        PyErr_SetString(PyExc_ValueError, "no such size");
        return -1;
    }
    *total += (unsigned long long)file->size;
    file->owner = PyUnicode_AsEncodedString(path, "utf-8", "surrogateescape");
    if (!file->owner || PyBytes_AsStringAndSize(file->owner, &text, &file->length))
        return -1;
    file->path = text;
    return 0;
}

/* The bytes that take() makes of the files, `digest` of each or all there are. */
static PyObject *taken(PyObject *arguments, int (*take)(int, const File *, size_t, char *, size_t *), unsigned long long digest)
{
    PyObject *listed, *data = NULL;
    File *files;
    unsigned long long total = 0;
    size_t count, index;
    int root, bad = 0, code = 0;

    if (!PyArg_ParseTuple(arguments, "iO!", &root, &PyList_Type, &listed))
        return NULL;
    count = (size_t)PyList_Size(listed);
    files = PyMem_Calloc(count + 1, sizeof *files);
    if (!files)
        return PyErr_NoMemory();
    for (index = 0; index < count && !bad; index++)
        bad = take_file(PyList_GetItem(listed, (Py_ssize_t)index), files + index, &total);
    if (digest)
        total = digest * count;
    if (!bad && (data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total))) {
        char *buffer = PyBytes_AsString(data);
        Py_BEGIN_ALLOW_THREADS
        code = take(root, files, count, buffer, &index);
        Py_END_ALLOW_THREADS
        if (code) {
            Py_CLEAR(data);
            confined_raise(code, files[index].path, files[index].length);
        }
    }
    for (index = 0; index < count; index++)
        Py_XDECREF(files[index].owner);
    PyMem_Free(files);
    return data;
}

static PyObject *read_files(PyObject *module, PyObject *arguments)
{
    (void)module;
    return taken(arguments, read_all, 0);
}

static PyObject *digest_files(PyObject *module, PyObject *arguments)
{
    (void)module;
    if (sha256_here())
        return taken(arguments, digest_all, SHA256_SIZE);
    PyErr_SetString(PyExc_NotImplementedError, "the processor has no instructions for SHA-256");
    return NULL;
}

static PyObject *can_digest(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyBool_FromLong(sha256_here());
}

static PyMethodDef methods[] = {
    {"can_digest", can_digest, METH_NOARGS, "See _contents.pyi."},
    {"digest_files", digest_files, METH_VARARGS, "See _contents.pyi."},
    {"read_files", read_files, METH_VARARGS, "See _contents.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.native._contents",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__contents(void)
{
    return PyModuleDef_Init(&definition);
}
