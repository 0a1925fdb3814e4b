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

/* The columns that entries are made from: those of a Tree (model.py), and the positions of the layer. Nobody changes them while
 * there is a Tar of them. */
typedef struct {
    const char *text;           /* paths, a zero byte behind each */
    const char *starts;         /* of each path in the text */
    const char *numbers;        /* a row of ROW_COUNT for each path */
    const char *mtimes;         /* of each path, in the layer */
    const char *positions;      /* of the entries, in the order of the layer; -1 is the root */
    size_t count;               /* of the positions */
} Columns;

/* What few entries have. Offsets are those in Tar.text. */
typedef struct {
    size_t index;               /* of the entry in the layer */
    size_t head;                /* of the header blocks that Python made; else of the target */
    uint32_t head_length, target_length, major, minor;
    char is_hard_link;
} Rare;

/* One entry of the layer, made when it is needed. */
typedef struct {
    const char *path;           /* in the root filesystem, with a zero byte at its end */
    size_t path_length;
    long long size, mtime, seen, mode, uid, gid;
    char type;
    Rare rare;
} Member;

typedef struct {
    Columns columns;
    Rare *rares;                /* owned; in the order of their entries */
    size_t rares_count, rares_room;
    Text text;
    unsigned long long total;   /* bytes of the whole tar */
    /* The position of the reader. */
    Confined confined;
    size_t next, next_rare;     /* the next entry, and the first of the rares that is not before it */
    Member member;              /* the most recently begun one */
    const char *rest;           /* of a header */
    size_t rest_length;
    char block[BLOCK];
    ConfinedFile file;          /* being read */
    size_t zeros;               /* still to be produced: padding, or the end of the archive */
    int ended;
} Tar;

/* Start on a root and columns that the caller owns, without rares. tar_end() frees all that the Tar owns. */
void tar_start(Tar *self, int root, const Columns *columns);
void tar_end(Tar *self);

/* Close the files that are open for reading. */
void tar_close(Tar *self);

/* Return the type flag of a kind of entry. */
char tar_type(int kind);

/* Make the entry with this index, whose position and numbers are possible. */
Member tar_member(const Tar *self, size_t index, const Rare *rare);

/* Add what is rare about the entry behind all others. Return 0, or -1 if memory is short. */
int tar_add_rare(Tar *self, const Rare *rare);

/* Return 1 if a ustar header can hold the member, of which everything but the header is set. */
int tar_fits(const Tar *self, const Member *member);

/* Add the bytes of the member to the total. Return 0, or -1 if there are too many. */
int tar_count(Tar *self, const Member *member);

/* Bytes that are read and written at once: few enough to stay in the processor's cache, and to be cached by the kernel in
 * 2^3 pages at most. It keeps such pages ready for each processor, and has to compact memory for more at once
 * (PAGE_ALLOC_COSTLY_ORDER), while writers of the same file wait. */
#define PIECE (1 << 15)

/* Produce up to `limit` bytes, fewer only at the end. Return 0 and their number, or the error (confined.h) of the
 * most recently begun member. */
int tar_fill(Tar *self, char *buffer, size_t limit, size_t *filled);

/* Like tar_fill(), and write the bytes into `target` from `offset` on, in pieces. Return 0, or the error of a member as
 * tar_fill(), or, if *writing, an errno of the target. */
int tar_copy(Tar *self, char *buffer, size_t limit, int target, long long offset, size_t *filled, int *writing);

#endif
