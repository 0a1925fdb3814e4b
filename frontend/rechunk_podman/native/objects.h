/* The module _native: its functions, and conversions of paths and errors to Python. _native.pyi has the contracts.
 *
 * Threads: callers hold the interpreter's lock; work on files releases it.
 */

#ifndef RECHUNK_OBJECTS_H
#define RECHUNK_OBJECTS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>

/* Return a path as a str: a new reference, or NULL and an exception. */
PyObject *path_object(const char *path, size_t length);

/* Return the bytes of a path, which live as long as *owner, or NULL and an exception. The caller releases *owner in
 * any case. */
const char *path_bytes(PyObject *path, size_t *length, PyObject **owner);

/* Raise OSError for an errno, LookupError for the codes of confined.h, with the path unless it is NULL. */
void raise_code(int code, const char *path, size_t length);

/* Functions of the module: each returns a new reference, or NULL and an exception. */
PyObject *find_path(PyObject *module, PyObject *arguments);
PyObject *find_paths(PyObject *module, PyObject *arguments);
PyObject *holds_any(PyObject *module, PyObject *arguments);
PyObject *open_directory(PyObject *module, PyObject *arguments);
PyObject *path_starts(PyObject *module, PyObject *arguments);
PyObject *plain_entries(PyObject *module, PyObject *arguments);
PyObject *read_directories(PyObject *module, PyObject *arguments);
PyObject *read_files(PyObject *module, PyObject *arguments);
PyObject *release_memory(PyObject *module, PyObject *nothing);
PyObject *sort_paths(PyObject *module, PyObject *arguments);
PyObject *take_paths(PyObject *module, PyObject *arguments);
PyObject *ustar(PyObject *module, PyObject *arguments);

/* Add the type TarStream to the module. Return 0, or -1 and an exception. */
int add_tar_stream(PyObject *module);

#endif
