/* The Python function holds_any(). */

#include "objects.h"

#include <string.h>

#define MOST 64

/* Texts to search for, and a bit for each pair of bytes that one of them begins with. */
typedef struct {
    const char *texts[MOST];
    size_t lengths[MOST], count;
    unsigned char pairs[1 << 13];
} Needles;

static int starts_with_any(const Needles *needles, const char *data, size_t length)
{
    size_t at;

    for (at = 0; at < needles->count; at++)
        if (needles->lengths[at] <= length && !memcmp(data, needles->texts[at], needles->lengths[at]))
            return 1;
    return 0;
}

/* Threads: needs no interpreter's lock. */
static int search(const Needles *needles, const char *data, size_t length)
{
    size_t at;

    for (at = 0; at + 1 < length; at++) {
        const unsigned int pair = (unsigned int)(unsigned char)data[at] << 8 | (unsigned char)data[at + 1];
        if (needles->pairs[pair >> 3] >> (pair & 7) & 1 && starts_with_any(needles, data + at, length - at))
            return 1;
    }
    return 0;
}

PyObject *holds_any(PyObject *module, PyObject *arguments)
{
    Needles needles = {.count = 0};
    PyObject *texts;
    Py_ssize_t length, count, at;
    const char *data;
    int found;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#O!", &data, &length, &PyTuple_Type, &texts))
        return NULL;
    count = PyTuple_Size(texts);
    if (count > MOST) {
        PyErr_SetString(PyExc_ValueError, "too many texts");
        return NULL;
    }
    for (at = 0; at < count; at++) {
        Py_ssize_t size;
        char *text;
        unsigned int pair;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(texts, at), &text, &size))
            return NULL;
        if (size < 2) {
            PyErr_SetString(PyExc_ValueError, "a text of less than two bytes");
            return NULL;
        }
        needles.texts[at] = text;
        needles.lengths[at] = (size_t)size;
        pair = (unsigned int)(unsigned char)text[0] << 8 | (unsigned char)text[1];
        needles.pairs[pair >> 3] |= (unsigned char)(1 << (pair & 7));
    }
    needles.count = (size_t)count;
    Py_BEGIN_ALLOW_THREADS
    found = search(&needles, data, (size_t)length);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(found);
}
