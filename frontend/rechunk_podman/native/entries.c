/* The Python function plain_entries(). */

#include "objects.h"

#include "headers.h"

/* The number of fields of a Member (oci/read/tar.py). */
#define FIELDS 12

/* The index in Kind (model.py) of the types 0 to 6; a hard link (1) is a file. */
static const int KIND_OF[] = {0, 0, 2, 4, 5, 1, 3};

static PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *device(const PlainHeader *header)
{
    return header->type == '3' || header->type == '4' ? Py_BuildValue("(KK)", header->major, header->minor) : none();
}

/* Return the fields of a Member as a new tuple, NULL and no exception if Python has to read the header, or NULL and an
 * exception. */
static PyObject *fields_of(const PlainHeader *header, PyObject *kinds)
{
    const int is_file = header->type == '0', is_link = header->type == '1', is_symlink = header->type == '2';
    char path[LONGEST], link[LONGEST];
    int length = header_path(path, header->name, header->name_length), link_length = 0, at;
    PyObject *fields[FIELDS] = {NULL}, *tuple;

    if (is_link)
        link_length = header_path(link, header->target, header->target_length);
    if (length <= 0 || link_length < 0 || (is_link && !link_length) || (is_symlink && !header->target_length))
        return NULL;
    tuple = PyTuple_New(FIELDS);
    if (!tuple)
        return NULL;
    fields[0] = path_object(path, (size_t)length);
    if ((size_t)length == header->name_length) {
        fields[1] = fields[0];
        Py_XINCREF(fields[1]);
    } else {
        fields[1] = path_object(header->name, header->name_length);
    }
    fields[2] = PyTuple_GetItem(kinds, KIND_OF[header->type - '0']);
    Py_XINCREF(fields[2]);
    fields[3] = PyLong_FromUnsignedLong(header->mode);
    fields[4] = PyLong_FromUnsignedLongLong(header->uid);
    fields[5] = PyLong_FromUnsignedLongLong(header->gid);
    fields[6] = PyLong_FromUnsignedLongLong(is_file ? header->size : 0);
    fields[7] = PyLong_FromUnsignedLongLong(header->mtime);
    fields[8] = is_symlink ? path_object(header->target, header->target_length) : none();
    fields[9] = device(header);
    fields[10] = PyTuple_New(0);
    fields[11] = is_link ? path_object(link, (size_t)link_length) : none();
    for (at = 0; at < FIELDS; at++) {
        if (!fields[at]) {
            for (; at < FIELDS; at++)
                Py_XDECREF(fields[at]);
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SetItem(tuple, at, fields[at]);
    }
    return tuple;
}

/* Append a value, whose reference this function takes, to a list. Return 0, or -1 and an exception. */
static int append(PyObject *list, PyObject *value)
{
    const int code = value ? PyList_Append(list, value) : -1;

    Py_XDECREF(value);
    return code;
}

PyObject *plain_entries(PyObject *module, PyObject *arguments)
{
    PyObject *buffer, *kinds, *rows = PyList_New(0), *offsets = PyList_New(0), *result = NULL;
    Py_ssize_t start, end;

    (void)module;
    if (!rows || !offsets || !PyArg_ParseTuple(arguments, "YnnO!", &buffer, &start, &end, &PyTuple_Type, &kinds))
        goto done;
    if (start < 0 || end < start || end > PyByteArray_Size(buffer)) {
        PyErr_SetString(PyExc_ValueError, "the entries lie outside of the buffer");
        goto done;
    }
    while (end - start >= BLOCK) {
        PlainHeader header;
        PyObject *fields;
        unsigned long long room;
        if (!header_parse((const unsigned char *)PyByteArray_AsString(buffer) + start, &header))
            break;
        room = header.type == '0' ? (header.size + BLOCK - 1) & ~(unsigned long long)(BLOCK - 1) : 0;
        if (room > (unsigned long long)(end - start - BLOCK))
            break;
        fields = fields_of(&header, kinds);
        if (!fields && PyErr_Occurred())
            goto done;
        if (!fields)
            break;
        if (append(rows, fields) || append(offsets, PyLong_FromSsize_t(start + BLOCK)))
            goto done;
        start += BLOCK + (Py_ssize_t)room;
    }
    result = Py_BuildValue("(OOn)", rows, offsets, start);
done:
    Py_XDECREF(rows);
    Py_XDECREF(offsets);
    return result;
}
