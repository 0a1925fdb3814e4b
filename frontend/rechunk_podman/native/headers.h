/* Tar headers of the plainest form, which all but a few entries have.
 *
 * A plain header is one that every reader takes alike: of POSIX's ustar or of GNU tar, with a right checksum and octal
 * numbers, of a type that layers hold. No pax record, long name or sparse map belongs to it.
 *
 * Threads: no function needs the interpreter's lock.
 */

#ifndef RECHUNK_HEADERS_H
#define RECHUNK_HEADERS_H

#include "tar.h"

/* The longest name: prefix, slash, name. */
#define LONGEST (PREFIX + 1 + NAME)

/* A plain header. The numbers are below 2**36. */
typedef struct {
    char type;
    unsigned int mode;
    unsigned long long uid, gid, size, mtime, major, minor;
    char name[LONGEST], target[NAME];
    size_t name_length, target_length;
} PlainHeader;

/* Read a header. Return 1, or 0 if it is not plain. */
int header_parse(const unsigned char block[BLOCK], PlainHeader *header);

/* Copy a name without empty components, those of one dot and slashes at its ends: a path of model.py. Return its length,
 * or -1 if the name has a component of two dots. The name may be `path` itself. */
int header_path(char path[LONGEST], const char *name, size_t length);

#endif
