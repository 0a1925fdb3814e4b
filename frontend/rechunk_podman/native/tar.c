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

void tar_start(Tar *self, int root, const Columns *columns)
{
    memset(self, 0, sizeof *self);
    self->columns = *columns;
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
    free(self->rares);
    free(self->text.bytes);
}

char tar_type(int kind)
{
    return "052634"[kind];
}

static long long number_at(const char *column, size_t index)
{
    long long value;

    memcpy(&value, column + index * sizeof value, sizeof value);
    return value;
}

Member tar_member(const Tar *self, size_t index, const Rare *rare)
{
    const Columns *columns = &self->columns;
    const long long position = number_at(columns->positions, index);
    Member member = {.path = "", .type = tar_type(KIND_DIRECTORY), .rare = *rare};
    long long row[ROW_COUNT], start;

    if (position < 0)
        return member;
    memcpy(row, columns->numbers + (size_t)position * sizeof row, sizeof row);
    start = number_at(columns->starts, (size_t)position);
    member.path = columns->text + start;
    member.path_length = (size_t)(number_at(columns->starts, (size_t)position + 1) - start - 1);
    member.type = rare->is_hard_link ? HARD_LINK : tar_type((int)row[ROW_KIND]);
    member.size = rare->is_hard_link ? 0 : row[ROW_SIZE];
    member.mtime = number_at(columns->mtimes, (size_t)position);
    member.seen = row[ROW_MTIME];
    member.mode = row[ROW_MODE];
    member.uid = row[ROW_UID];
    member.gid = row[ROW_GID];
    return member;
}

int tar_add_rare(Tar *self, const Rare *rare)
{
    if (self->rares_count == self->rares_room) {
        const size_t room = self->rares_room + self->rares_room / 4 + 16;
        Rare *grown = realloc(self->rares, room * sizeof *grown);
        if (!grown)
            return -1;
        self->rares = grown;
        self->rares_room = room;
    }
    self->rares[self->rares_count++] = *rare;
    return 0;
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

    return member->path_length && length <= NAME && is_ascii(member->path, member->path_length) &&
           member->rare.target_length <= NAME &&
           is_ascii(self->text.bytes + member->rare.head, member->rare.target_length) &&
           member->uid < MAX_ID && member->gid < MAX_ID && member->size < MAX_NUMBER && member->mtime >= 0 &&
           member->mtime < MAX_NUMBER;
}

int tar_count(Tar *self, const Member *member)
{
    const unsigned long long head = member->rare.head_length ? member->rare.head_length : BLOCK;
    const unsigned long long size = (unsigned long long)member->size;

    if (head + size + BLOCK > LLONG_MAX - self->total)
        return -1;
    self->total += head + ((size + BLOCK - 1) & ~(unsigned long long)(BLOCK - 1));
    return 0;
}

/* Begin the next member. Return like tar_fill(). */
static int begin(Tar *self)
{
    const int has_rare = self->next_rare < self->rares_count && self->rares[self->next_rare].index == self->next;
    const Rare none = {0}, *rare = has_rare ? self->rares + self->next_rare : &none;
    Member *member = &self->member;
    int code = 0;

    *member = tar_member(self, self->next++, rare);
    self->next_rare += (size_t)has_rare;
    if (rare->head_length) {
        self->rest = self->text.bytes + rare->head;
        self->rest_length = rare->head_length;
    } else {
        char name[NAME];
        Header header = {.name = member->path, .name_length = member->path_length, .target = self->text.bytes + rare->head,
                         .target_length = rare->target_length, .size = (unsigned long long)member->size,
                         .mtime = (unsigned long long)member->mtime, .mode = (unsigned int)member->mode,
                         .uid = (unsigned int)member->uid, .gid = (unsigned int)member->gid, .major = rare->major,
                         .minor = rare->minor, .type = member->type};
        if (member->type == tar_type(KIND_DIRECTORY)) {
            memcpy(name, member->path, member->path_length);
            name[header.name_length++] = '/';
            header.name = name;
        }
        header_format(self->block, &header);
        self->rest = self->block;
        self->rest_length = BLOCK;
    }
    if (member->size) {
        code = confined_open(&self->confined, member->path, member->path_length, member->size, member->seen, &self->file);
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
        } else if (self->next < self->columns.count) {
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
