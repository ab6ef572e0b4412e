/* SPDX-License-Identifier: MIT */
/*
 * Shared memory that another party writes as it likes. Each load reads memory once; each access is checked against the
 * length of the window, so that no number out of shared memory can lead outside it. Values are little endian there.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include <stdint.h>

struct window {
	volatile unsigned char *base;
	uint64_t length;
	const char *name;
};

/* A part of a window as a window of its own. */
struct window window_part(const struct window *whole, uint64_t offset, uint64_t length, const char *name);

uint8_t window_load8(const struct window *window, uint64_t offset);
uint16_t window_load16(const struct window *window, uint64_t offset);
uint32_t window_load32(const struct window *window, uint64_t offset);
uint64_t window_load64(const struct window *window, uint64_t offset);

void window_store16(const struct window *window, uint64_t offset, uint16_t value);
void window_store32(const struct window *window, uint64_t offset, uint32_t value);
void window_store64(const struct window *window, uint64_t offset, uint64_t value);

/* Byte by byte, for buffers. */
void window_read(const struct window *window, uint64_t offset, void *target, uint64_t length);
void window_write(const struct window *window, uint64_t offset, const void *source, uint64_t length);
void window_zero(const struct window *window, uint64_t offset, uint64_t length);

#endif
