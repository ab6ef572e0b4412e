/* SPDX-License-Identifier: MIT */
/* What both ends of an exchange agree on: how a request looks, what the device answers, how the driver checks it. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <stdint.h>

enum {
    SEGMENTS_EACH_WAY = 3,
    SEGMENT_BYTES = 96,
    /* Room of one request in the window: segments with a gap behind each, then an indirect table of 16-byte entries. */
    SEGMENT_STRIDE = SEGMENT_BYTES + 32,
    TABLE_OFFSET = 2 * SEGMENTS_EACH_WAY * SEGMENT_STRIDE,
    REQUEST_STRIDE = TABLE_OFFSET + 2 * SEGMENTS_EACH_WAY * 16 + 160,
};

struct piece {
    uint64_t offset;
    uint32_t length;
};

struct request {
    struct piece pieces[2 * SEGMENTS_EACH_WAY]; /* readable ones first */
    uint32_t readable, writable;
    uint64_t start; /* of the request's room in the window */
    uint32_t seed;
    uint32_t readable_bytes, writable_bytes;
};

uint64_t next_random(uint64_t *state);

/* Lay out a random request in its room, fill what the device reads, poison what it writes. */
void request_make(struct request *request, unsigned char *window, uint64_t start, uint64_t *random);
/* Sum over the readable bytes, for requests with nothing to write an answer into. */
uint64_t bytes_digest(const unsigned char *bytes, uint32_t length);
uint64_t request_digest(const struct request *request);
/* The device: answer for `in`, at most `room` bytes; returns how many. */
uint32_t answer(const unsigned char *in, uint32_t length, unsigned char *out, uint32_t room);
/* NULL, or what is wrong with what came back. */
const char *request_check(const struct request *request, const unsigned char *window, uint32_t written);

#endif
