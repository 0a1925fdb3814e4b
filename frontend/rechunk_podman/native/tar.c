#define _GNU_SOURCE
#include "tar.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void octal(char *at, int digits, unsigned long long value)
{
    at[digits] = '\0';
    while (digits--) {
        at[digits] = (char)('0' + (value & 7));
        value >>= 3;
    }
}

void header_format(char block[BLOCK], const Header *header)
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

void tar_start(Tar *self, int root)
{
    memset(self, 0, sizeof *self);
    self->total = END;
    self->file.fd = -1;
    confined_start(&self->confined, root);
}

void tar_close(Tar *self)
{
    confined_close(&self->file);
    confined_end(&self->confined);
}

void tar_end(Tar *self)
{
    tar_close(self);
    free(self->members);
    free(self->text.bytes);
}

char tar_type(int kind)
{
    return "052634"[kind];
}

static int is_ascii(const char *text, size_t length)
{
    while (length--)
        if (*text++ & 0x80)
            return 0;
    return 1;
}

int tar_fits(const Tar *self, const Member *member)
{
    const size_t length = member->path_length + (member->type == tar_type(KIND_DIRECTORY));

    return member->path_length && length <= NAME && is_ascii(self->text.bytes + member->path, member->path_length) &&
           member->target_length <= NAME && is_ascii(self->text.bytes + member->head, member->target_length) &&
           member->uid < MAX_ID && member->gid < MAX_ID && member->size < MAX_NUMBER && member->mtime >= 0 &&
           member->mtime < MAX_NUMBER;
}

int tar_count(Tar *self, const Member *member)
{
    const unsigned long long head = member->head_length ? member->head_length : BLOCK;
    const unsigned long long size = (unsigned long long)member->size;

    if (head + size + BLOCK > LLONG_MAX - self->total)
        return -1;
    self->total += head + ((size + BLOCK - 1) & ~(unsigned long long)(BLOCK - 1));
    return 0;
}

/* Begin the next member. Return like tar_fill(). */
static int begin(Tar *self)
{
    const Member *member = self->members + self->next++;
    const char *path = self->text.bytes + member->path;
    int code = 0;

    if (member->head_length) {
        self->rest = self->text.bytes + member->head;
        self->rest_length = member->head_length;
    } else {
        char name[NAME];
        Header header = {.name = path, .name_length = member->path_length, .target = self->text.bytes + member->head,
                         .target_length = member->target_length, .size = (unsigned long long)member->size,
                         .mtime = (unsigned long long)member->mtime, .mode = member->mode, .uid = member->uid,
                         .gid = member->gid, .major = member->major, .minor = member->minor, .type = member->type};
        if (member->type == tar_type(KIND_DIRECTORY)) {
            memcpy(name, path, member->path_length);
            name[header.name_length++] = '/';
            header.name = name;
        }
        header_format(self->block, &header);
        self->rest = self->block;
        self->rest_length = BLOCK;
    }
    if (member->size) {
        code = confined_open(&self->confined, path, member->path_length, member->size, member->seen, &self->file);
        self->zeros = (size_t)(-member->size & (BLOCK - 1));
    }
    return code;
}

int tar_fill(Tar *self, char *buffer, size_t limit, size_t *filled)
{
    size_t used = 0;
    int code = 0;

    while (!code && used < limit) {
        const size_t room = limit - used;
        size_t part = 0;
        if (self->rest_length) {
            part = self->rest_length < room ? self->rest_length : room;
            memcpy(buffer + used, self->rest, part);
            self->rest += part;
            self->rest_length -= part;
        } else if (self->file.fd >= 0) {
            code = self->file.left ? confined_read(&self->file, buffer + used, room, &part) : confined_done(&self->file);
        } else if (self->zeros) {
            part = self->zeros < room ? self->zeros : room;
            memset(buffer + used, 0, part);
            self->zeros -= part;
        } else if (self->next < self->count) {
            code = begin(self);
        } else if (!self->ended) {
            self->ended = 1;
            self->zeros = END;
        } else {
            break;
        }
        used += part;
    }
    *filled = used;
    return code;
}

/* Write bytes at an offset. Return 0 or an errno. */
static int store(int target, const char *bytes, size_t count, long long offset)
{
    while (count) {
        ssize_t written = pwrite(target, bytes, count, offset);
        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0) {
            bytes += written;
            offset += written;
            count -= (size_t)written;
        }
    }
    return 0;
}

int tar_copy(Tar *self, char *buffer, size_t limit, int target, long long offset, size_t *filled, int *writing)
{
    int code = 0;

    for (*filled = *writing = 0; !code && *filled < limit;) {
        const long long at = offset + (long long)*filled;
        const size_t left = limit - *filled, room = PIECE - (size_t)(at % PIECE), wanted = room < left ? room : left;
        size_t part;
        code = tar_fill(self, buffer + *filled, wanted, &part);
        if (!code && (code = store(target, buffer + *filled, part, at)))
            *writing = 1;
        *filled += part;
        if (part < wanted)
            break;
    }
    return code;
}
