/* SHA-256 (FIPS 180-4) of one or two messages at once, by the processor's own instructions (x86-64 SHA extensions).
 *
 * A round waits for the previous one, so that one message keeps the processor half busy: two at once take hardly
 * longer than one. Libraries hash one at a time. hashlib does the work if the instructions are missing.
 *
 * Threads: no function needs the interpreter's lock; one thread at a time uses a message. Nothing is allocated.
 */

#ifndef RECHUNK_SHA256_H
#define RECHUNK_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BLOCK 64
#define SHA256_SIZE 32

/* Bytes that are read, hashed and written at once: few enough to stay in the processor's cache, and to be cached by the
 * kernel in pages of 2^3 at most. It keeps such pages ready for each processor, and has to compact memory for larger
 * ones (PAGE_ALLOC_COSTLY_ORDER), while writers of the same file wait. */
#define PIECE (1 << 15)

/* A message, and its piece that is hashed next. */
typedef struct {
    uint32_t state[8];    /* in the order that the instructions want: F E B A, H G D C */
    uint64_t blocks;      /* that have been hashed */
    unsigned char *piece; /* the caller's; PIECE bytes, of which so many are filled */
    size_t filled;
} Sha256;

/* Return 1 if this processor has the instructions. Without them no other function may be called. */
int sha256_here(void);

/* Start a message with its piece empty. */
void sha256_start(Sha256 *self, unsigned char *piece);

/* Hash the whole blocks in the pieces of `count` messages, one or two. */
void sha256_hash(Sha256 **messages, int count);

/* Write the digest of all pieces into `digest`; the bytes after the last whole block of the last piece end the message. */
void sha256_end(const Sha256 *self, unsigned char digest[SHA256_SIZE]);

#endif
