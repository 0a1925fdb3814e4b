#include "text.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int text_reserve(Text *text, size_t more)
{
    size_t room;
    char *grown;

    if (more < text->room - text->used)
        return 0;
    if (more > SIZE_MAX / 4 || text->used > SIZE_MAX / 4)
        return ENOMEM;
    room = text->used + text->used / 4 + more + 4096;
    grown = realloc(text->bytes, room);
    if (!grown)
        return ENOMEM;
    text->bytes = grown;
    text->room = room;
    return 0;
}

int text_add(Text *text, const void *bytes, size_t length)
{
    int code = text_reserve(text, length);

    if (!code) {
        memcpy(text->bytes + text->used, bytes, length);
        text->used += length;
        text->bytes[text->used] = '\0';
    }
    return code;
}
