/* Contents of many files. */

#include "objects.h"

#include <errno.h>
#include <stdlib.h>

#include "confined.h"

/* Threads: functions down to read_contents() need no interpreter's lock. The caller owns all their arguments. */

/* A file to be read; path ends in a zero byte, size and mtime are as it was scanned. */
typedef struct {
    PyObject *owner; /* of the bytes of the path */
    const char *path;
    size_t length;
    long long size, mtime;
} File;

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

PyObject *read_files(PyObject *module, PyObject *arguments)
{
    PyObject *listed, *data = NULL;
    File *files;
    unsigned long long total = 0;
    size_t count, index;
    int root, bad = 0, code = 0;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!", &root, &PyList_Type, &listed))
        return NULL;
    count = (size_t)PyList_Size(listed);
    files = PyMem_Calloc(count + 1, sizeof *files);
    if (!files)
        return PyErr_NoMemory();
    for (index = 0; index < count && !bad; index++)
        bad = take_file(PyList_GetItem(listed, (Py_ssize_t)index), files + index, &total);
    if (!bad && (data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total))) {
        char *buffer = PyBytes_AsString(data);
        Py_BEGIN_ALLOW_THREADS
        code = read_contents(root, files, count, buffer, &index);
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
