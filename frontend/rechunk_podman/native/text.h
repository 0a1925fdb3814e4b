/* Bytes that grow at their end.
 *
 * Threads: no function needs the interpreter's lock; one thread at a time uses a Text.
 */

#ifndef RECHUNK_TEXT_H
#define RECHUNK_TEXT_H

#include <stddef.h>

/* Starts as zeros. The owner of the struct frees `bytes`. */
typedef struct {
    char *bytes;
    size_t used, room;
} Text;

/* Make room for `more` bytes and a zero byte. Return 0 or ENOMEM; then nothing has changed. */
int text_reserve(Text *text, size_t more);

/* Append a copy of the bytes; a zero byte, which `used` does not count, follows them. Return like text_reserve(). */
int text_add(Text *text, const void *bytes, size_t length);

#endif
