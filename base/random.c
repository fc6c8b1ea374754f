#include "base/random.h"

#include <math.h>

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t random_word(uint64_t seed, uint64_t n, uint32_t stream, enum random_purpose purpose,
                     uint32_t word)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), stream,
                                 (uint32_t)purpose << 8 | word / 4};
    uint32_t out[4];
    philox4x32(counter, key, out);
    return out[word % 4];
}

double random_normal(uint32_t r0, uint32_t r1)
{
    double u0 = (r0 + 0.5) * 0x1p-32, u1 = (r1 + 0.5) * 0x1p-32;
    return sqrt(-2 * log(u0)) * cos(6.283185307179586 * u1);
}
