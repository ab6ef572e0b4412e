/* SPDX-License-Identifier: MIT */
/* Powers of two. */
#ifndef TEST_QEMU_HOST_UTILS_H
#define TEST_QEMU_HOST_UTILS_H

#include <stdint.h>

/* The smallest power of two that is not below value; 0 where 64 bits do not hold it. */
static inline uint64_t pow2ceil(uint64_t value)
{
	uint64_t power = 1;

	while (power && power < value)
		power <<= 1;
	return power;
}

#endif
