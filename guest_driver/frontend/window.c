/* SPDX-License-Identifier: MIT */
#include "window.h"

#include <endian.h>
#include <inttypes.h>
#include <stddef.h>

#include "report.h"

static volatile unsigned char *at(const struct window *window, uint64_t offset, uint64_t length, unsigned int align)
{
	if (offset > window->length || length > window->length - offset)
		fail("%" PRIu64 " bytes at 0x%" PRIx64 " are not inside the %s of 0x%" PRIx64 " bytes", length, offset,
		     window->name, window->length);
	if (offset % align)
		fail("offset 0x%" PRIx64 " in the %s is not a multiple of %u", offset, window->name, align);
	return window->base + offset;
}

struct window window_part(const struct window *whole, uint64_t offset, uint64_t length, const char *name)
{
	struct window part = { at(whole, offset, length, 1), length, name };

	return part;
}

uint8_t window_load8(const struct window *window, uint64_t offset)
{
	return __atomic_load_n(at(window, offset, 1, 1), __ATOMIC_ACQUIRE);
}

uint16_t window_load16(const struct window *window, uint64_t offset)
{
	return le16toh(__atomic_load_n((volatile uint16_t *)at(window, offset, 2, 2), __ATOMIC_ACQUIRE));
}

uint32_t window_load32(const struct window *window, uint64_t offset)
{
	return le32toh(__atomic_load_n((volatile uint32_t *)at(window, offset, 4, 4), __ATOMIC_ACQUIRE));
}

uint64_t window_load64(const struct window *window, uint64_t offset)
{
	return le64toh(__atomic_load_n((volatile uint64_t *)at(window, offset, 8, 8), __ATOMIC_ACQUIRE));
}

void window_store16(const struct window *window, uint64_t offset, uint16_t value)
{
	__atomic_store_n((volatile uint16_t *)at(window, offset, 2, 2), htole16(value), __ATOMIC_RELEASE);
}

void window_store32(const struct window *window, uint64_t offset, uint32_t value)
{
	__atomic_store_n((volatile uint32_t *)at(window, offset, 4, 4), htole32(value), __ATOMIC_RELEASE);
}

void window_store64(const struct window *window, uint64_t offset, uint64_t value)
{
	__atomic_store_n((volatile uint64_t *)at(window, offset, 8, 8), htole64(value), __ATOMIC_RELEASE);
}

void window_read(const struct window *window, uint64_t offset, void *target, uint64_t length)
{
	volatile unsigned char *source = at(window, offset, length, 1);

	for (uint64_t i = 0; i < length; i++)
		((unsigned char *)target)[i] = source[i];
}

void window_write(const struct window *window, uint64_t offset, const void *source, uint64_t length)
{
	volatile unsigned char *target = at(window, offset, length, 1);

	for (uint64_t i = 0; i < length; i++)
		target[i] = ((const unsigned char *)source)[i];
}

void window_zero(const struct window *window, uint64_t offset, uint64_t length)
{
	volatile unsigned char *target = at(window, offset, length, 1);

	for (uint64_t i = 0; i < length; i++)
		target[i] = 0;
}
