/* SHA-256 (FIPS 180-4) of one or two messages at once, by the processor's own instructions (x86-64 SHA extensions).
 *
 * A round waits for the one before it, so that one message keeps such a processor half busy: two at once take hardly
 * longer than one. Libraries take one at a time. Where the instructions are missing there is nothing here, and
 * hashlib does the work.
 */

#ifndef RECHUNK_SHA256_H
#define RECHUNK_SHA256_H

#include <stdint.h>
#include <string.h>

#define SHA256_BLOCK 64
#define SHA256_SIZE 32

typedef struct {
    uint32_t state[8];   /* in the order in which the instructions want it: F E B A, H G D C */
    uint64_t blocks;     /* that have been hashed */
} Sha256;

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define SHA256_CODE __attribute__((target("sha,sse4.1")))

/* 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t SHA256_K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* Whether this processor has the instructions: SHA (leaf 7), SSSE3 and SSE4.1 (leaf 1). */
static int sha256_here(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1 && __get_cpuid(1, &a, &b, &c, &d) && c >> 9 & 1 &&
           c >> 19 & 1;
}

static void sha256_start(Sha256 *self)
{
    /* 5.3.3 */
    static const uint32_t first[8] = {0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667,
                                      0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372};
    memcpy(self->state, first, sizeof first);
    self->blocks = 0;
}

/* 6.2.2 for a block of each message, again and again; `lanes` is known where this is inlined. */
static inline __attribute__((always_inline)) SHA256_CODE void sha256_lanes(Sha256 **messages, const unsigned char **data,
                                                                           size_t blocks, const int lanes)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i feba[2], hgdc[2], feba_before[2], hgdc_before[2], words[2][4];
    size_t block;
    int lane, four;

    for (lane = 0; lane < lanes; lane++) {
        feba[lane] = _mm_loadu_si128((const __m128i *)messages[lane]->state);
        hgdc[lane] = _mm_loadu_si128((const __m128i *)messages[lane]->state + 1);
    }
    for (block = 0; block < blocks; block++) {
        for (lane = 0; lane < lanes; lane++) {
            feba_before[lane] = feba[lane];
            hgdc_before[lane] = hgdc[lane];
        }
#pragma GCC unroll 16
        for (four = 0; four < 16; four++) {
            const __m128i constants = _mm_load_si128((const __m128i *)SHA256_K + four);
#pragma GCC unroll 2
            for (lane = 0; lane < lanes; lane++) {
                __m128i *schedule = words[lane], next;
                if (four < 4) {
                    next = _mm_loadu_si128((const __m128i *)(data[lane] + SHA256_BLOCK * block) + four);
                    next = _mm_shuffle_epi8(next, swap);
                } else {
                    next = _mm_sha256msg1_epu32(schedule[four & 3], schedule[(four + 1) & 3]);
                    next = _mm_add_epi32(next, _mm_alignr_epi8(schedule[(four + 3) & 3], schedule[(four + 2) & 3], 4));
                    next = _mm_sha256msg2_epu32(next, schedule[(four + 3) & 3]);
                }
                schedule[four & 3] = next;
                next = _mm_add_epi32(next, constants);
                hgdc[lane] = _mm_sha256rnds2_epu32(hgdc[lane], feba[lane], next);
                feba[lane] = _mm_sha256rnds2_epu32(feba[lane], hgdc[lane], _mm_shuffle_epi32(next, 0x0e));
            }
        }
        for (lane = 0; lane < lanes; lane++) {
            feba[lane] = _mm_add_epi32(feba[lane], feba_before[lane]);
            hgdc[lane] = _mm_add_epi32(hgdc[lane], hgdc_before[lane]);
        }
    }
    for (lane = 0; lane < lanes; lane++) {
        _mm_storeu_si128((__m128i *)messages[lane]->state, feba[lane]);
        _mm_storeu_si128((__m128i *)messages[lane]->state + 1, hgdc[lane]);
        messages[lane]->blocks += blocks;
    }
}

static SHA256_CODE void sha256_one(Sha256 *message, const unsigned char *data, size_t blocks)
{
    sha256_lanes(&message, &data, blocks, 1);
}

static SHA256_CODE void sha256_two(Sha256 **messages, const unsigned char **data, size_t blocks)
{
    sha256_lanes(messages, data, blocks, 2);
}

#else

static int sha256_here(void)
{
    return 0;
}

static void sha256_start(Sha256 *self)
{
    memset(self, 0, sizeof *self);
}

static void sha256_one(Sha256 *message, const unsigned char *data, size_t blocks)
{
    (void)message, (void)data, (void)blocks;
}

static void sha256_two(Sha256 **messages, const unsigned char **data, size_t blocks)
{
    (void)messages, (void)data, (void)blocks;
}

#endif

/* The whole blocks in so many bytes of one message or two, both at once as far as the shorter reaches. */
static void sha256_blocks(Sha256 **messages, const unsigned char **data, const size_t *lengths, int count)
{
    size_t both = 0;
    int at;

    if (count == 2) {
        both = (lengths[0] < lengths[1] ? lengths[0] : lengths[1]) / SHA256_BLOCK;
        sha256_two(messages, data, both);
    }
    for (at = 0; at < count; at++)
        sha256_one(messages[at], data[at] + both * SHA256_BLOCK, lengths[at] / SHA256_BLOCK - both);
}

/* The last bytes of a message, fewer than a block, and 5.1.1; the digest of all of it. */
static void sha256_end(Sha256 *self, const unsigned char *rest, size_t length, unsigned char digest[SHA256_SIZE])
{
    static const unsigned char order[8] = {3, 2, 7, 6, 1, 0, 5, 4}; /* where A to H are */
    unsigned char last[2 * SHA256_BLOCK] = {0};
    const size_t size = length + 9 > SHA256_BLOCK ? 2 * SHA256_BLOCK : SHA256_BLOCK;
    const uint64_t bits = (self->blocks * SHA256_BLOCK + length) * 8;
    size_t at;

    memcpy(last, rest, length);
    last[length] = 0x80;
    for (at = 0; at < 8; at++)
        last[size - 1 - at] = (unsigned char)(bits >> 8 * at);
    sha256_one(self, last, size / SHA256_BLOCK);
    for (at = 0; at < SHA256_SIZE; at++)
        digest[at] = (unsigned char)(self->state[order[at / 4]] >> (24 - 8 * (at % 4)));
}

#endif
