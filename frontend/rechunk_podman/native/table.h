/* Paths in one buffer, each with a zero byte behind it, and the offset of each: the PathTable of paths.py.
 *
 * Threads: table_search() and table_at() need no interpreter's lock; nobody changes the buffers.
 */

#ifndef RECHUNK_TABLE_H
#define RECHUNK_TABLE_H

#include "objects.h"

#include <stddef.h>

/* The caller owns the buffers. */
typedef struct {
    const char *text;
    const long long *starts; /* count + 1 of them: the last one is the length of the text */
    size_t count;
} Table;

/* Set the table to buffers of Python. Return 0, or -1 and an exception if they cannot be one. */
int table_open(Table *self, const char *text, Py_ssize_t text_length, const char *starts, Py_ssize_t starts_length);

/* Return the path at a position, with a zero byte at its end; "" at -1, the root. Return NULL and an exception if there is
 * no such position. */
const char *table_path(const Table *self, long long position, size_t *length);

/* Return the position of the first path that is not before `path` in byte order, of paths that are in this order. It is
 * found faster the nearer it is to `near`. */
size_t table_search(const Table *self, const char *path, size_t near);

#endif
