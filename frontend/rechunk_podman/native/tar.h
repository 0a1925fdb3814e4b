/* The tar of a layer, produced piece by piece: headers, contents, padding, end.
 *
 * oci/write/tar.py defines the format and makes every header that ustar cannot hold.
 *
 * Threads: no function needs the interpreter's lock; one thread at a time uses a Tar.
 */

#ifndef RECHUNK_TAR_H
#define RECHUNK_TAR_H

#include <stddef.h>
#include <stdint.h>

#include "confined.h"
#include "entry.h"
#include "sha256.h"
#include "text.h"

/* Bytes of a block and of the end of an archive; fields of a ustar header. */
#define BLOCK 512
#define END (2 * BLOCK)
#define NAME 100
#define PREFIX 155
#define MAX_ID (1LL << 21)   /* what seven octal digits no longer hold */
#define MAX_NUMBER (1LL << 33) /* and eleven */

#define HARD_LINK '1'

/* The values of a ustar header, which fit it. The caller keeps the strings. */
typedef struct {
    const char *name, *target, *prefix;
    size_t name_length, target_length, prefix_length;
    unsigned long long size, mtime;
    unsigned int mode, uid, gid, major, minor;
    char type;
} Header;

/* Write the header into a block. */
void header_format(char block[BLOCK], const Header *header);

/* One entry of the layer; there are very many. Offsets are those in Tar.text. */
typedef struct {
    size_t path;               /* in the root filesystem, with a zero byte at its end */
    size_t head;               /* of the header blocks that Python made; else of the target */
    long long size, mtime, seen;
    uint32_t path_length, head_length, target_length;
    uint32_t uid, gid, major, minor;
    uint16_t mode;
    char type;
} Member;

typedef struct {
    Member *members;            /* owned; there is room for all when the first is added */
    size_t count;
    Text text;
    unsigned long long total;   /* bytes of the whole tar */
    /* The position of the reader. */
    Confined confined;
    size_t next;                /* the next member */
    const char *rest;           /* of a header */
    size_t rest_length;
    char block[BLOCK];
    ConfinedFile file;          /* being read */
    size_t zeros;               /* still to be produced: padding, or the end of the archive */
    int ended;
    /* The output, after tar_into(). */
    int target;                 /* the caller owns it; -1 to hash only */
    long long offset;
    Sha256 hash;                /* the Tar owns its piece; NULL before tar_into() */
    int over;                   /* all of it has been written */
} Tar;

/* Start without members, on a root that the caller owns. tar_end() frees all that the Tar owns. */
void tar_start(Tar *self, int root);
void tar_end(Tar *self);

/* Close the files that are open for reading. */
void tar_close(Tar *self);

/* Return the type flag of a kind of entry. */
char tar_type(int kind);

/* Return 1 if a ustar header can hold the member, of which everything but the header is set. */
int tar_fits(const Tar *self, const Member *member);

/* Add the bytes of the member to the total. Return 0, or -1 if there are too many. */
int tar_count(Tar *self, const Member *member);

/* Produce up to `limit` bytes, fewer only at the end. Return 0 and their number, or the error (confined.h) of the
 * member before `next`. */
int tar_fill(Tar *self, char *buffer, size_t limit, size_t *filled);

/* Set the output: hash everything, and write it into `target` from `offset` on. Return 0 or ENOMEM. */
int tar_into(Tar *self, int target, long long offset);

/* Hash and write one or two Tars, piece by piece in turns, until one ends or each has advanced by `most` bytes.
 * Return 0, or the error of *failed: as tar_fill(), or, if *writing, an errno of its target. */
int tar_advance(Tar **tars, int count, long long most, Tar **failed, int *writing);

#endif
