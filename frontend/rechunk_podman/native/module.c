/* The table of the module, and helpers of its functions. */

#define _GNU_SOURCE
#include "objects.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "confined.h"

PyObject *path_object(const char *path, size_t length)
{
    return PyUnicode_DecodeUTF8(path, (Py_ssize_t)length, "surrogateescape");
}

const char *path_bytes(PyObject *path, size_t *length, PyObject **owner)
{
    Py_ssize_t size;
    char *text;

    *owner = PyUnicode_AsEncodedString(path, "utf-8", "surrogateescape");
    if (!*owner || PyBytes_AsStringAndSize(*owner, &text, &size))
        return NULL;
    *length = (size_t)size;
    return text;
}

void raise_code(int code, const char *path, size_t length)
{
    PyObject *error = NULL, *shown = path ? path_object(path, length) : NULL;

    if (code > 0 && !path)
        error = PyObject_CallFunction(PyExc_OSError, "is", code, strerror(code));
    else if (code > 0 && shown)
        error = PyObject_CallFunction(PyExc_OSError, "isO", code, strerror(code), shown);
    else if (shown)
        error = PyObject_CallFunction(PyExc_LookupError, "sO", code == CONFINED_CHANGED ? "changed" : "irregular", shown);
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(shown);
    Py_XDECREF(error);
}

PyObject *open_directory(PyObject *module, PyObject *arguments)
{
    PyObject *path, *owner, *result = NULL;
    const char *text;
    size_t length;
    int root, fd;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "iU", &root, &path))
        return NULL;
    text = path_bytes(path, &length, &owner);
    if (text) {
        fd = confined_directory(root, text, length, O_PATH);
        if (fd < 0 && errno == EINVAL)
            PyErr_SetString(PyExc_ValueError, "the path is not canonical");
        else if (fd < 0)
            raise_code(errno, text, length);
        else
            result = PyLong_FromLong(fd);
    }
    Py_XDECREF(owner);
    return result;
}

PyObject *release_memory(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"find_path", find_path, METH_VARARGS, "See _native.pyi."},
    {"find_paths", find_paths, METH_VARARGS, "See _native.pyi."},
    {"holds_any", holds_any, METH_VARARGS, "See _native.pyi."},
    {"open_directory", open_directory, METH_VARARGS, "See _native.pyi."},
    {"path_starts", path_starts, METH_VARARGS, "See _native.pyi."},
    {"plain_entries", plain_entries, METH_VARARGS, "See _native.pyi."},
    {"read_directories", read_directories, METH_VARARGS, "See _native.pyi."},
    {"read_files", read_files, METH_VARARGS, "See _native.pyi."},
    {"release_memory", release_memory, METH_NOARGS, "See _native.pyi."},
    {"sort_paths", sort_paths, METH_VARARGS, "See _native.pyi."},
    {"take_paths", take_paths, METH_VARARGS, "See _native.pyi."},
    {"ustar", ustar, METH_VARARGS, "See _native.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_tar_stream}, {0, NULL}};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "rechunk_podman.native._native",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
