#include "table.h"

#include <string.h>

int table_open(Table *self, const char *text, Py_ssize_t text_length, const char *starts, Py_ssize_t starts_length)
{
    const size_t count = (size_t)starts_length / sizeof *self->starts;

    *self = (Table){text, (const long long *)(const void *)starts, count - 1};
    if (count && count * sizeof *self->starts == (size_t)starts_length && (size_t)starts % sizeof *self->starts == 0 &&
        self->starts[0] == 0 && self->starts[self->count] == text_length && (!text_length || !text[text_length - 1]))
        return 0;
    PyErr_SetString(PyExc_ValueError, "the offsets are not those of the paths");
    return -1;
}

const char *table_path(const Table *self, long long position, size_t *length)
{
    if (position == -1) {
        *length = 0;
        return "";
    }
    if (position < -1 || position >= (long long)self->count) {
        PyErr_SetString(PyExc_ValueError, "a position is not in the tree");
        return NULL;
    }
    *length = (size_t)(self->starts[position + 1] - self->starts[position] - 1);
    return self->text + self->starts[position];
}

size_t table_search(const Table *self, const char *path, size_t near)
{
    size_t low = 0, high = self->count, step = 1;

    /* in growing steps away from `near`, until the path is between two positions */
    if (near < self->count && strcmp(self->text + self->starts[near], path) < 0) {
        for (low = near + 1; low + step < high; step *= 2) {
            if (strcmp(self->text + self->starts[low + step], path) >= 0) {
                high = low + step;
                break;
            }
            low += step + 1;
        }
    } else {
        for (high = near < self->count ? near : self->count; step <= high; step *= 2) {
            if (strcmp(self->text + self->starts[high - step], path) < 0) {
                low = high - step + 1;
                break;
            }
            high -= step;
        }
    }
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(self->text + self->starts[middle], path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
