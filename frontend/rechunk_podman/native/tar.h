/* The tar of a layer, produced piece by piece: headers, contents, padding, end.
 *
 * oci/write/tar.py tells the format and makes every header that ustar cannot hold.
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
    size_t path;               /* as the root filesystem has it, with a zero byte */
    size_t head;               /* of the header blocks that were made elsewhere; else of the target */
    long long size, mtime, seen;
    uint32_t path_length, head_length, target_length;
    uint32_t uid, gid, major, minor;
    uint16_t mode;
    char type;
} Member;

typedef struct {
    Member *members;            /* its own; there is room for all when the first is added */
    size_t count;
    Text text;
    unsigned long long total;   /* bytes of the whole */
    /* Its position. */
    Confined confined;
    size_t next;                /* the member that follows */
    const char *rest;           /* of a header */
    size_t rest_length;
    char block[BLOCK];
    ConfinedFile file;          /* being read */
    size_t zeros;               /* to come: padding, or the end of the archive */
    int ended;
    /* Its output, after tar_into(). */
    int target;                 /* the caller's; or -1: it is only hashed */
    long long offset;
    Sha256 hash;                /* its piece is the Tar's, NULL before */
    int over;                   /* all of it has been written */
} Tar;

/* Start without members, on a root that is the caller's. tar_end() frees all that the Tar owns. */
void tar_start(Tar *self, int root);
void tar_end(Tar *self);

/* Close the files that are open for reading. */
void tar_close(Tar *self);

/* Return the type flag of a kind of entry. */
char tar_type(int kind);

/* Return whether ustar holds the member, all of which but its header is known. */
int tar_fits(const Tar *self, const Member *member);

/* Add the bytes of the member to the total. Return 0, or -1 if there are too many. */
int tar_count(Tar *self, const Member *member);

/* Produce up to `limit` bytes: fewer only at the end. Return 0 and their number, or what is wrong (confined.h) with the
 * member before `next`. */
int tar_fill(Tar *self, char *buffer, size_t limit, size_t *filled);

/* Hash the whole from now on, and write it into `target` from `offset` on. Return 0 or ENOMEM. */
int tar_into(Tar *self, int target, long long offset);

/* Hash and write one or two of them, piece by piece in turns, until one is over or each has come `most` bytes further.
 * Return 0, or what is wrong with *failed: as tar_fill(), or, if *writing, an errno of its target. */
int tar_advance(Tar **tars, int count, long long most, Tar **failed, int *writing);

#endif
