/* SPDX-License-Identifier: MIT */
#include "requests.h"

#include <string.h>

enum { POISON = 0xEE };

uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static unsigned char content(uint32_t seed, uint32_t position)
{
    return (unsigned char)(seed + position * 31 + (position >> 8));
}

static unsigned char answered(unsigned char byte)
{
    return (unsigned char)(byte * 5 + 3);
}

void request_make(struct request *request, unsigned char *window, uint64_t start, uint64_t *random)
{
    uint64_t dice = next_random(random);
    uint32_t position = 0;

    request->start = start;
    request->seed = (uint32_t)(dice >> 32);
    request->readable = dice % (SEGMENTS_EACH_WAY + 1);
    request->writable = (dice >> 8) % (SEGMENTS_EACH_WAY + 1);
    if (!request->readable && !request->writable)
        request->readable = 1;
    request->readable_bytes = request->writable_bytes = 0;
    memset(window + start, POISON, TABLE_OFFSET);
    dice = next_random(random);
    for (uint32_t i = 0; i < request->readable + request->writable; i++) {
        struct piece *piece = &request->pieces[i];

        piece->offset = start + i * SEGMENT_STRIDE + ((dice >> (4 * i)) & 15);
        piece->length = 1 + (uint32_t)(dice >> (8 + 8 * i)) % SEGMENT_BYTES;
        if (i >= request->readable) {
            request->writable_bytes += piece->length;
            continue;
        }
        request->readable_bytes += piece->length;
        for (uint32_t k = 0; k < piece->length; k++)
            window[piece->offset + k] = content(request->seed, position++);
    }
}

uint64_t bytes_digest(const unsigned char *bytes, uint32_t length)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < length; i++)
        sum += (uint64_t)(bytes[i] + 1) * (i + 1);
    return sum;
}

uint64_t request_digest(const struct request *request)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < request->readable_bytes; i++)
        sum += (uint64_t)(content(request->seed, i) + 1) * (i + 1);
    return sum;
}

uint32_t answer(const unsigned char *in, uint32_t length, unsigned char *out, uint32_t room)
{
    uint32_t i;

    for (i = 0; i < length && i < room; i++)
        out[i] = answered(in[i]);
    return i;
}

const char *request_check(const struct request *request, const unsigned char *window, uint32_t written)
{
    uint32_t expected = request->readable_bytes < request->writable_bytes ? request->readable_bytes
                                                                          : request->writable_bytes;
    uint32_t position = 0;

    if (written != expected)
        return "used length is not what the device wrote";
    for (uint32_t i = 0; i < request->readable + request->writable; i++) {
        const unsigned char *byte = window + request->pieces[i].offset;
        uint32_t length = request->pieces[i].length;

        if (i == request->readable)
            position = 0;
        for (uint32_t k = 0; k < length; k++, position++) {
            if (i < request->readable) {
                if (byte[k] != content(request->seed, position))
                    return "a readable buffer was changed";
            } else if (byte[k] != (position < written ? answered(content(request->seed, position)) : POISON)) {
                return "a writable buffer holds something else than the answer";
            }
        }
        if (byte[length] != POISON)
            return "something was written behind a buffer";
    }
    return NULL;
}
