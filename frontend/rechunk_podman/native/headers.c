#include "headers.h"

#include <string.h>

/* Read an octal number, with spaces and zero bytes at its ends; an empty field is 0. Return 1, or 0 if it is none. */
static int octal_parse(const unsigned char *field, int width, unsigned long long *value)
{
    int at = 0;

    *value = 0;
    while (at < width && (field[at] == ' ' || !field[at]))
        at++;
    for (; at < width && field[at] >= '0' && field[at] <= '7'; at++)
        *value = *value << 3 | (field[at] & 7);
    while (at < width && (field[at] == ' ' || !field[at]))
        at++;
    return at == width;
}

static int has_checksum(const unsigned char block[BLOCK])
{
    unsigned long long claimed;
    unsigned int sum = 8 * ' ', at;

    for (at = 0; at < BLOCK; at++)
        sum += block[at];
    for (at = 148; at < 156; at++)
        sum -= block[at];
    return octal_parse(block + 148, 8, &claimed) && claimed == sum;
}

int header_parse(const unsigned char block[BLOCK], PlainHeader *header)
{
    const char *text = (const char *)block;
    unsigned long long mode;
    size_t length;

    if (block[156] < '0' || block[156] > '6' || !has_checksum(block) || !octal_parse(block + 100, 8, &mode) ||
        !octal_parse(block + 108, 8, &header->uid) || !octal_parse(block + 116, 8, &header->gid) ||
        !octal_parse(block + 124, 12, &header->size) || !octal_parse(block + 136, 12, &header->mtime) ||
        !octal_parse(block + 329, 8, &header->major) || !octal_parse(block + 337, 8, &header->minor))
        return 0;
    header->type = text[156];
    header->mode = mode & 07777;
    header->name_length = 0;
    if (!memcmp(block + 257, "ustar", 6)) {
        if (!memcmp(block + 508, "tar", 4)) /* star: the prefix is shorter */
            return 0;
        length = strnlen(text + 345, PREFIX);
        if (length) {
            memcpy(header->name, text + 345, length);
            header->name[length] = '/';
            header->name_length = length + 1;
        }
    } else if (memcmp(block + 257, "ustar  ", 8) || block[345] || block[357]) {
        return 0; /* neither POSIX nor GNU, or times and offsets of GNU in the place of the prefix */
    }
    length = strnlen(text, NAME);
    memcpy(header->name + header->name_length, text, length);
    header->name_length += length;
    header->target_length = strnlen(text + 157, NAME);
    memcpy(header->target, text + 157, header->target_length);
    return 1;
}

int header_path(char path[LONGEST], const char *name, size_t length)
{
    size_t start, end, used = 0;

    for (start = 0; start < length; start = end + 1) {
        const char *slash = memchr(name + start, '/', length - start);
        end = slash ? (size_t)(slash - name) : length;
        if (end == start || (end == start + 1 && name[start] == '.'))
            continue;
        if (end == start + 2 && !memcmp(name + start, "..", 2))
            return -1;
        if (used)
            path[used++] = '/';
        memmove(path + used, name + start, end - start);
        used += end - start;
    }
    return (int)used;
}
