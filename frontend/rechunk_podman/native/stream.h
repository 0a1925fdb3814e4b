/* The tar of a layer, produced piece by piece: headers, contents, padding, end. No interpreter is needed for it.
 *
 * The format is told in tar.py, which makes every header that ustar cannot hold.
 */

#ifndef RECHUNK_STREAM_H
#define RECHUNK_STREAM_H

#include <sys/stat.h>

#include "confined.h"
#include "sha256.h"

#define BLOCK 512
#define NAME 100
#define PREFIX 155
#define END (2 * BLOCK)
#define MAX_ID (1L << 21)   /* what seven octal digits no longer hold */
#define LARGE (1LL << 33)   /* and eleven */

/* Flags by the place of a kind in model.Kind, whose first three have a size, a slash and a target. */
static const char TYPES[] = "052634";
enum { KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KINDS = sizeof TYPES - 1 };
#define HARD_LINK '1'

/* The numbers of an Entry (model.py: NUMBERS), and what few have besides (More). */
enum { ROW_KIND, ROW_MODE, ROW_UID, ROW_GID, ROW_SIZE, ROW_MTIME, ROW = 9 };
enum { MORE_TARGET, MORE_RDEV, MORE_XATTRS };

static void octal(char *at, int digits, unsigned long long value)
{
    at[digits] = '\0';
    while (digits--) {
        at[digits] = (char)('0' + (value & 7));
        value >>= 3;
    }
}

typedef struct {
    const char *name, *target, *prefix;
    size_t name_length, target_length, prefix_length;
    unsigned long long size, mtime;
    unsigned int mode, uid, gid, major, minor;
    char type;
} Header;

static void format(char *block, const Header *header)
{
    unsigned int sum = 0;
    int at;

    memset(block, 0, BLOCK);
    memcpy(block, header->name, header->name_length);
    octal(block + 100, 7, header->mode);
    octal(block + 108, 7, header->uid);
    octal(block + 116, 7, header->gid);
    octal(block + 124, 11, header->size);
    octal(block + 136, 11, header->mtime);
    memset(block + 148, ' ', 8);
    block[156] = header->type;
    if (header->target_length)
        memcpy(block + 157, header->target, header->target_length);
    memcpy(block + 257, "ustar\0" "00", 8);
    octal(block + 329, 7, header->major);
    octal(block + 337, 7, header->minor);
    if (header->prefix_length)
        memcpy(block + 345, header->prefix, header->prefix_length);
    for (at = 0; at < BLOCK; at++)
        sum += (unsigned char)block[at];
    octal(block + 148, 6, sum);
}

/* Bytes that are read, hashed and written at once: they stay in the processor's cache meanwhile. Written at multiples of
 * itself, and no more at once: page caches look for memory in one piece for larger ones. */
#define PIECE (1 << 16)

/* One entry of the layer; there are very many. Places are those in Stream.text. */
typedef struct {
    size_t path;               /* as the root filesystem has it */
    size_t head;               /* header blocks that were made elsewhere, and then what follows does not count; or the target */
    long long size, mtime, seen;
    uint32_t path_length, head_length, target_length;
    uint32_t uid, gid, major, minor;
    uint16_t mode;
    char type;
} Member;

typedef struct {
    PyObject_HEAD
    Member *members;
    size_t count;
    char *text;
    size_t used, text_room;
    unsigned long long total;
    int root;
    int broken;                 /* it raised: there is nothing more to be had */
    /* Where the stream stands. */
    Confined confined;
    size_t next;                /* the member that follows */
    const char *rest;           /* of a header */
    size_t rest_length;
    char block[BLOCK];
    ConfinedFile file;          /* being read */
    size_t zeros;               /* to come: padding, or the end of the archive */
    int begun, ended;
    /* Where it goes to, once that has been said. */
    char *piece;                /* PIECE bytes, of which so many are filled */
    size_t filled;
    int target;                 /* or -1: it is hashed alone */
    long long offset;
    Sha256 hash;
    int over;                   /* all of it has been written */
} Stream;

/* Runs without the interpreter's lock. Returns 0, or what was wrong with the member that was begun last. */
static int fill(Stream *self, char *buffer, size_t limit, size_t *filled)
{
    size_t used = 0;

    while (used < limit) {
        if (self->rest_length) {
            size_t part = self->rest_length < limit - used ? self->rest_length : limit - used;
            memcpy(buffer + used, self->rest, part);
            self->rest += part;
            self->rest_length -= part;
            used += part;
        } else if (self->file.fd >= 0) {
            size_t got = 0;
            int code = self->file.left ? confined_read(&self->file, buffer + used, limit - used, &got)
                                       : confined_done(&self->file);
            if (code)
                return code;
            used += got;
        } else if (self->zeros) {
            size_t part = self->zeros < limit - used ? self->zeros : limit - used;
            memset(buffer + used, 0, part);
            self->zeros -= part;
            used += part;
        } else if (self->next < self->count) {
            const Member *member = self->members + self->next++;
            const char *path = self->text + member->path;
            if (member->head_length) {
                self->rest = self->text + member->head;
                self->rest_length = member->head_length;
            } else {
                char name[NAME];
                Header header = {.name = path, .name_length = member->path_length, .target = self->text + member->head,
                                 .target_length = member->target_length, .size = (unsigned long long)member->size,
                                 .mtime = (unsigned long long)member->mtime, .mode = member->mode, .uid = member->uid,
                                 .gid = member->gid, .major = member->major, .minor = member->minor, .type = member->type};
                if (member->type == TYPES[KIND_DIRECTORY]) {
                    memcpy(name, path, member->path_length);
                    name[header.name_length++] = '/';
                    header.name = name;
                }
                format(self->block, &header);
                self->rest = self->block;
                self->rest_length = BLOCK;
            }
            if (member->size) {
                int code = confined_open(&self->confined, path, member->path_length, member->size, member->seen, &self->file);
                if (code)
                    return code;
                self->zeros = (size_t)(-member->size & (BLOCK - 1));
            }
        } else if (!self->ended) {
            self->ended = 1;
            self->zeros = END;
        } else {
            break;
        }
    }
    *filled = used;
    return 0;
}

static void let_go(Stream *self)
{
    confined_close(&self->file);
    confined_end(&self->confined);
    confined_start(&self->confined, self->root);
}

/* The next piece: whole blocks to be hashed, up to a multiple of PIECE in the file where that can be. Returns as fill(). */
static int refill(Stream *self)
{
    const size_t before = (size_t)(self->offset % PIECE), room = before % SHA256_BLOCK ? PIECE : PIECE - before;
    int code = fill(self, self->piece, room, &self->filled);

    self->over = !code && self->filled < room;
    return code;
}

static void hash(Stream **streams, int count)
{
    Sha256 *hashes[2];
    const unsigned char *data[2];
    size_t lengths[2];
    int at;

    for (at = 0; at < count; at++) {
        hashes[at] = &streams[at]->hash;
        data[at] = (unsigned char *)streams[at]->piece;
        lengths[at] = streams[at]->filled;
    }
    sha256_blocks(hashes, data, lengths, count);
}

/* Writes the piece. Returns 0 or an errno. */
static int store(Stream *self)
{
    size_t written = 0;

    while (self->target >= 0 && written < self->filled) {
        ssize_t count = pwrite(self->target, self->piece + written, self->filled - written, self->offset + (long long)written);
        if (count < 0 && errno != EINTR)
            return errno;
        written += count > 0 ? (size_t)count : 0;
    }
    self->offset += (long long)self->filled;
    return 0;
}

enum { READING, WRITING };

/* Hashes and writes streams, piece by piece in turns, until one of them is over or each has come `most` bytes further.
 * Returns 0, or what was wrong; then *failed is the stream, and *doing what was done with it. */
static int advance(Stream **streams, int count, long long most, Stream **failed, int *doing)
{
    long long done;
    int at, code, over = 0;

    for (done = 0; done < most && !over; done += PIECE) {
        *doing = READING;
        for (at = 0; at < count; at++)
            if ((code = refill(*failed = streams[at])))
                return code;
        hash(streams, count);
        *doing = WRITING;
        for (at = 0; at < count; at++) {
            if ((code = store(*failed = streams[at])))
                return code;
            over |= streams[at]->over;
        }
    }
    return 0;
}

#endif
