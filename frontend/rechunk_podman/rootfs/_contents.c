/* The contents of many small files, read without the interpreter's lock.
 *
 * The contract is in _contents.pyi.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

#include "confined.h"

typedef struct {
    PyObject *owner; /* of the bytes of the path */
    const char *path;
    Py_ssize_t length;
    long long size, mtime;
} File;

/* Puts the contents one behind the other. Returns 0, or what was wrong with the file at *index. */
static int read_all(int root, const File *files, size_t count, char *buffer, size_t *index)
{
    Confined confined;
    int code = 0;

    confined_start(&confined, root);
    for (*index = 0; *index < count; ++*index) {
        const File *file = files + *index;
        ConfinedFile open;
        size_t count = 0;
        code = confined_open(&confined, file->path, (size_t)file->length, file->size, file->mtime, &open);
        while (!code && open.left) {
            code = confined_read(&open, buffer, (size_t)open.left, &count);
            if (!code)
                buffer += count;
        }
        if (!code)
            code = confined_done(&open);
        confined_close(&open);
        if (code)
            break;
    }
    confined_end(&confined);
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

static PyObject *read_files(PyObject *module, PyObject *arguments)
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
        code = read_all(root, files, count, buffer, &index);
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

static PyMethodDef methods[] = {
    {"read_files", read_files, METH_VARARGS, "See _contents.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.rootfs._contents",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__contents(void)
{
    return PyModuleDef_Init(&definition);
}
