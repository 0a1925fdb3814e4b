/* Paths in one buffer: find their offsets, sort them, look them up, copy some of them. _native.pyi has the contracts. */

#include "objects.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

/* Threads: functions down to sort_rows() need no interpreter's lock. */

/* What is sorted in a directory: a name, or (`below`) all that is below it, which sorts as if a slash followed the name. */
typedef struct {
    const char *name;
    uint32_t row;
    int below;
} Item;

static int compare_items(const void *one, const void *two)
{
    const Item *a = one, *b = two;
    const unsigned char *x = (const unsigned char *)a->name, *y = (const unsigned char *)b->name;
    int left, right;

    while (*x && *x == *y)
        x++, y++;
    left = *x ? *x : a->below ? '/' : 0;
    right = *y ? *y : b->below ? '/' : 0;
    return left - right;
}

/* The rows of directories: those of the directory with row d are children[first[d + 1]] to children[first[d + 2] - 1];
 * those of the root directory begin at first[0]. */
typedef struct {
    uint32_t *first, *children;
} Children;

/* Fill the arrays; there are count + 2 elements in `first`. Return 0, or -1 if a parent is impossible. */
static int collect(Children *self, const long long *parents, size_t count)
{
    size_t row;

    for (row = 0; row < count; row++) {
        if (parents[row] < -1 || parents[row] >= (long long)count)
            return -1;
        self->first[parents[row] + 1]++;
    }
    for (row = 1; row < count + 2; row++)
        self->first[row] += self->first[row - 1];
    /* each element is the end of its directory now; going down makes it the start */
    for (row = count; row-- > 0;)
        self->children[--self->first[parents[row] + 1]] = (uint32_t)row;
    return 0;
}

/* What is left of a directory. */
typedef struct {
    Item *items;
    size_t next, count;
} Level;

/* Sort the names in a directory into a new level. Return 0, or -1 if memory is short. */
static int enter(Level *level, const Children *children, size_t directory, const Table *table, size_t skip)
{
    const size_t start = children->first[directory], end = children->first[directory + 1];
    size_t at;

    *level = (Level){.items = malloc((2 * (end - start) + 1) * sizeof(Item))};
    if (!level->items)
        return -1;
    for (at = start; at < end; at++) {
        const uint32_t row = children->children[at];
        const char *name = table->text + table->starts[row];
        name += (size_t)(table->starts[row + 1] - table->starts[row]) > skip ? skip : 0;
        level->items[level->count++] = (Item){name, row, 0};
        if (children->first[row + 1] < children->first[row + 2])
            level->items[level->count++] = (Item){name, row, 1};
    }
    qsort(level->items, level->count, sizeof(Item), compare_items);
    return 0;
}

/* Write the rows in the order of their paths. Return their number, or -1 if memory is short. */
static long long walk(const Children *children, const Table *table, long long *order)
{
    size_t room = 64, depth = 0;
    Level *levels = malloc(room * sizeof *levels);
    long long done = 0;
    int bad = !levels || enter(levels, children, 0, table, 0);

    depth = !bad;
    while (depth && !bad) {
        Level *level = levels + depth - 1;
        const Item *item = level->items + level->next;
        if (level->next++ == level->count) {
            free(level->items);
            depth--;
        } else if (!item->below) {
            order[done++] = item->row;
        } else {
            const uint32_t row = item->row;
            if (depth == room) {
                Level *grown = realloc(levels, 2 * room * sizeof *levels);
                bad = !grown;
                levels = grown ? grown : levels;
                room *= grown ? 2 : 1;
            }
            if (!bad)
                bad = enter(levels + depth, children, row + 1, table, (size_t)(table->starts[row + 1] - table->starts[row]));
            depth += !bad;
        }
    }
    while (depth)
        free(levels[--depth].items);
    free(levels);
    return bad ? -1 : done;
}

/* Write the rows in the order of their paths. Return 0, 1 if a parent is impossible, or -1 if memory is short. */
static int sort_rows(const Table *table, const long long *parents, long long *order)
{
    Children children = {calloc(table->count + 2, sizeof(uint32_t)), malloc((table->count + 1) * sizeof(uint32_t))};
    long long done = -1;
    int bad = 0;

    if (children.first && children.children) {
        bad = collect(&children, parents, table->count);
        done = bad ? 0 : walk(&children, table, order);
    }
    free(children.first);
    free(children.children);
    return done < 0 ? -1 : bad || (size_t)done != table->count;
}

PyObject *path_starts(PyObject *module, PyObject *arguments)
{
    const char *text, *at, *end;
    Py_ssize_t length, count = 0;
    long long *starts;
    PyObject *result;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#", &text, &length))
        return NULL;
    end = text + length;
    if (length && end[-1]) {
        PyErr_SetString(PyExc_ValueError, "the last path does not end in a zero byte");
        return NULL;
    }
    for (at = text; at < end; at = (const char *)memchr(at, 0, (size_t)(end - at)) + 1)
        count++;
    result = PyBytes_FromStringAndSize(NULL, (count + 1) * (Py_ssize_t)sizeof *starts);
    if (!result)
        return NULL;
    starts = (long long *)PyBytes_AsString(result);
    for (at = text; at < end; at = (const char *)memchr(at, 0, (size_t)(end - at)) + 1)
        *starts++ = at - text;
    *starts = length;
    return result;
}

PyObject *sort_paths(PyObject *module, PyObject *arguments)
{
    Table table;
    const char *text, *starts, *parents;
    Py_ssize_t text_length, starts_length, parents_length;
    PyObject *result;
    int bad;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#y#y#", &text, &text_length, &starts, &starts_length, &parents, &parents_length) ||
        table_open(&table, text, text_length, starts, starts_length))
        return NULL;
    if ((size_t)parents_length != table.count * sizeof(long long) || table.count >= UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a parent is expected for each path");
        return NULL;
    }
    result = PyBytes_FromStringAndSize(NULL, parents_length);
    if (!result)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    bad = sort_rows(&table, (const long long *)parents, (long long *)PyBytes_AsString(result));
    Py_END_ALLOW_THREADS
    if (bad > 0)
        PyErr_SetString(PyExc_ValueError, "a parent is not a path, or its own descendant");
    else if (bad)
        PyErr_NoMemory();
    if (bad)
        Py_CLEAR(result);
    return result;
}

PyObject *find_paths(PyObject *module, PyObject *arguments)
{
    Table table;
    const char *text, *starts, *wanted, *at, *end;
    Py_ssize_t text_length, starts_length, wanted_length, count = 0;
    size_t near = 0;
    long long *positions;
    PyObject *result;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#y#y#", &text, &text_length, &starts, &starts_length, &wanted, &wanted_length) ||
        table_open(&table, text, text_length, starts, starts_length))
        return NULL;
    end = wanted + wanted_length;
    if (wanted_length && end[-1]) {
        PyErr_SetString(PyExc_ValueError, "the last path does not end in a zero byte");
        return NULL;
    }
    for (at = wanted; at < end; at = (const char *)memchr(at, 0, (size_t)(end - at)) + 1)
        count++;
    result = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof *positions);
    if (!result)
        return NULL;
    positions = (long long *)PyBytes_AsString(result);
    for (at = wanted; at < end; at += strlen(at) + 1) {
        near = table_search(&table, at, near);
        *positions++ = near < table.count && !strcmp(table.text + table.starts[near], at) ? (long long)near : -1;
    }
    return result;
}

PyObject *find_path(PyObject *module, PyObject *arguments)
{
    Table table;
    const char *text, *starts, *wanted;
    Py_ssize_t text_length, starts_length, wanted_length;
    size_t found;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#y#y#", &text, &text_length, &starts, &starts_length, &wanted, &wanted_length) ||
        table_open(&table, text, text_length, starts, starts_length))
        return NULL;
    found = table_search(&table, wanted, table.count / 2);
    if (found < table.count && table.starts[found + 1] - table.starts[found] - 1 == wanted_length &&
        !memcmp(table.text + table.starts[found], wanted, (size_t)wanted_length))
        return PyLong_FromSize_t(found);
    return PyLong_FromLongLong(-1 - (long long)found);
}

PyObject *take_paths(PyObject *module, PyObject *arguments)
{
    Table table;
    const char *text, *starts, *positions;
    Py_ssize_t text_length, starts_length, positions_length, total = 0;
    size_t index, count;
    char *to;
    PyObject *result;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#y#y#", &text, &text_length, &starts, &starts_length, &positions, &positions_length) ||
        table_open(&table, text, text_length, starts, starts_length))
        return NULL;
    count = (size_t)positions_length / sizeof(long long);
    for (index = 0; index < count; index++) {
        size_t length;
        long long position;
        memcpy(&position, positions + index * sizeof position, sizeof position);
        if (!table_path(&table, position, &length))
            return NULL;
        total += (Py_ssize_t)length + 1;
    }
    result = PyBytes_FromStringAndSize(NULL, total);
    if (!result)
        return NULL;
    to = PyBytes_AsString(result);
    for (index = 0; index < count; index++) {
        size_t length;
        long long position;
        const char *path;
        memcpy(&position, positions + index * sizeof position, sizeof position);
        path = table_path(&table, position, &length);
        memcpy(to, path, length + 1);
        to += length + 1;
    }
    return result;
}
