/* Contents and digests of many files. */

#include "objects.h"

#include <errno.h>
#include <stdlib.h>

#include "confined.h"
#include "sha256.h"

/* Threads: functions down to digest_contents() need no interpreter's lock. The caller owns all their arguments. */

#define LANES 2

/* A file to be read; path ends in a zero byte, size and mtime are as it was scanned. */
typedef struct {
    PyObject *owner; /* of the bytes of the path */
    const char *path;
    size_t length;
    long long size, mtime;
} File;

/* A file that is being hashed, and its index among the files. */
typedef struct {
    ConfinedFile file; /* its descriptor is -1 where there is none */
    size_t index;
    Sha256 hash;
    unsigned char piece[PIECE];
} Lane;

/* Fill a buffer from a file, until either ends. Return 0, or an error (confined.h). */
static int read_fully(ConfinedFile *file, char *data, size_t room, size_t *filled)
{
    int code = 0;

    for (*filled = 0; !code && file->left && *filled < room;) {
        size_t got = 0;
        code = confined_read(file, data + *filled, room - *filled, &got);
        *filled += got;
    }
    return code;
}

/* Write the contents one after the other into `data`. Return 0, or the error (confined.h) of the file at *index. */
static int read_contents(int root, const File *files, size_t count, char *data, size_t *index)
{
    Confined confined;
    int code = 0;

    confined_start(&confined, root);
    for (*index = 0; *index < count; ++*index) {
        const File *file = files + *index;
        ConfinedFile open;
        size_t filled;
        code = confined_open(&confined, file->path, file->length, file->size, file->mtime, &open);
        if (!code && !(code = read_fully(&open, data, (size_t)file->size, &filled)))
            code = confined_done(&open);
        confined_close(&open);
        if (code)
            break;
        data += filled;
    }
    confined_end(&confined);
    return code;
}

/* Write the SHA-256 of each file into `data`. Return like read_contents(). */
static int digest_contents(int root, const File *files, size_t count, char *data, size_t *index)
{
    Confined confined;
    Lane *lanes = malloc(LANES * sizeof *lanes);
    size_t next = 0;
    int code = 0, at, busy = 1;

    *index = 0;
    if (!lanes)
        return ENOMEM;
    confined_start(&confined, root);
    for (at = 0; at < LANES; at++)
        lanes[at].file.fd = -1;
    while (!code && busy) {
        Lane *going[LANES];
        Sha256 *hashes[LANES];
        for (at = busy = 0; !code && at < LANES; at++) {
            Lane *lane = lanes + at;
            if (lane->file.fd < 0 && next < count) {
                const File *file = files + (*index = lane->index = next++);
                sha256_start(&lane->hash, lane->piece);
                code = confined_open(&confined, file->path, file->length, file->size, file->mtime, &lane->file);
            }
            if (!code && lane->file.fd >= 0) {
                *index = lane->index;
                code = read_fully(&lane->file, (char *)lane->piece, PIECE, &lane->hash.filled);
                hashes[busy] = &lane->hash;
                going[busy++] = lane;
            }
        }
        if (!code)
            sha256_hash(hashes, busy);
        for (at = 0; !code && at < busy; at++)
            if (!going[at]->file.left) {
                *index = going[at]->index;
                sha256_end(&going[at]->hash, (unsigned char *)data + *index * SHA256_SIZE);
                code = confined_done(&going[at]->file);
            }
    }
    for (at = 0; at < LANES; at++)
        confined_close(&lanes[at].file);
    confined_end(&confined);
    free(lanes);
    return code;
}

/* Parse a tuple of path, size and mtime. Return 0, or -1 and an exception. The caller releases the file's owner. */
static int take_file(PyObject *item, File *file, unsigned long long *total)
{
    PyObject *path;

    if (!PyTuple_Check(item) || !PyArg_ParseTuple(item, "ULL", &path, &file->size, &file->mtime)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "files are tuples of path, size and mtime");
        return -1;
    }
    if (file->size < 0 || *total + (unsigned long long)file->size > PY_SSIZE_T_MAX) {
        PyErr_SetString(PyExc_ValueError, "a size is negative, or the sum of sizes is too large");
        return -1;
    }
    *total += (unsigned long long)file->size;
    file->path = path_bytes(path, &file->length, &file->owner);
    return file->path ? 0 : -1;
}

/* Return the bytes that read() writes for the files: `digest` bytes for each, or their contents. */
static PyObject *read_each(PyObject *arguments, int (*read)(int, const File *, size_t, char *, size_t *),
                           unsigned long long digest)
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
    if (!bad && (data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(digest ? digest * count : total)))) {
        char *buffer = PyBytes_AsString(data);
        Py_BEGIN_ALLOW_THREADS
        code = read(root, files, count, buffer, &index);
        Py_END_ALLOW_THREADS
        if (code) {
            Py_CLEAR(data);
            raise_code(code, files[index].path, files[index].length);
        }
    }
    for (index = 0; index < count; index++)
        Py_XDECREF(files[index].owner);
    PyMem_Free(files);
    return data;
}

PyObject *read_files(PyObject *module, PyObject *arguments)
{
    (void)module;
    return read_each(arguments, read_contents, 0);
}

PyObject *digest_files(PyObject *module, PyObject *arguments)
{
    (void)module;
    if (sha256_here())
        return read_each(arguments, digest_contents, SHA256_SIZE);
    PyErr_SetString(PyExc_NotImplementedError, "the processor has no instructions for SHA-256");
    return NULL;
}
