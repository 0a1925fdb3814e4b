#include "sha256.h"

#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define SHA256_CODE __attribute__((target("sha,sse4.1")))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

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

/* SHA (leaf 7), SSSE3 and SSE4.1 (leaf 1). */
int sha256_here(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1 && __get_cpuid(1, &a, &b, &c, &d) && c >> 9 & 1 &&
           c >> 19 & 1;
}

/* 6.2.2 for the blocks of each message in turn, from the start of `data`; `lanes` is a constant for the inlining callers. */
static inline __attribute__((always_inline)) SHA256_CODE void hash_lanes(Sha256 **messages, const unsigned char *const *data,
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
        UNROLL
        for (four = 0; four < 16; four++) {
            const __m128i constants = _mm_load_si128((const __m128i *)SHA256_K + four);
            UNROLL
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

static SHA256_CODE void hash_one(Sha256 *message, const unsigned char *data, size_t blocks)
{
    hash_lanes(&message, &data, blocks, 1);
}

static SHA256_CODE void hash_two(Sha256 **messages, const unsigned char *const *data, size_t blocks)
{
    hash_lanes(messages, data, blocks, 2);
}

#else

int sha256_here(void)
{
    return 0;
}

static void hash_one(Sha256 *message, const unsigned char *data, size_t blocks)
{
    (void)message, (void)data, (void)blocks;
}

static void hash_two(Sha256 **messages, const unsigned char *const *data, size_t blocks)
{
    (void)messages, (void)data, (void)blocks;
}

#endif

void sha256_start(Sha256 *self, unsigned char *piece)
{
    /* 5.3.3 */
    static const uint32_t first[8] = {0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667,
                                      0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372};
    memcpy(self->state, first, sizeof first);
    self->blocks = self->filled = 0;
    self->piece = piece;
}

void sha256_hash(Sha256 **messages, int count)
{
    size_t both = 0;
    int at;

    if (count == 2) {
        const unsigned char *const data[2] = {messages[0]->piece, messages[1]->piece};
        both = (messages[0]->filled < messages[1]->filled ? messages[0] : messages[1])->filled / SHA256_BLOCK;
        hash_two(messages, data, both);
    }
    for (at = 0; at < count; at++)
        hash_one(messages[at], messages[at]->piece + both * SHA256_BLOCK, messages[at]->filled / SHA256_BLOCK - both);
}

void sha256_end(const Sha256 *self, unsigned char digest[SHA256_SIZE])
{
    static const unsigned char order[8] = {3, 2, 7, 6, 1, 0, 5, 4}; /* where A to H are */
    Sha256 copy = *self;
    unsigned char last[2 * SHA256_BLOCK] = {0};
    const size_t length = self->filled % SHA256_BLOCK;
    const size_t size = length + 9 > SHA256_BLOCK ? 2 * SHA256_BLOCK : SHA256_BLOCK; /* 5.1.1 */
    const uint64_t bits = (self->blocks * SHA256_BLOCK + length) * 8;
    size_t at;

    memcpy(last, self->piece + self->filled - length, length);
    last[length] = 0x80;
    for (at = 0; at < 8; at++)
        last[size - 1 - at] = (unsigned char)(bits >> 8 * at);
    hash_one(&copy, last, size / SHA256_BLOCK);
    for (at = 0; at < SHA256_SIZE; at++)
        digest[at] = (unsigned char)(copy.state[order[at / 4]] >> (24 - 8 * (at % 4)));
}
