/* SPDX-License-Identifier: MIT */
/* Sizes on the command line. */
#ifndef TEST_QEMU_OPTION_H
#define TEST_QEMU_OPTION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "qapi/error.h"

/* Bytes, or with K, M or G behind. */
static inline bool parse_option_size(const char *name, const char *text, uint64_t *size, Error **error)
{
	static Error malformed = { "the size is no number of bytes, K, M or G" };
	char *end;

	(void)name;
	*size = strtoull(text, &end, 0);
	switch (*end) {
	case 'G':
		*size <<= 10;
		/* fall through */
	case 'M':
		*size <<= 10;
		/* fall through */
	case 'K':
		*size <<= 10;
		end++;
	}
	if (end == text || *end) {
		*error = &malformed;
		return false;
	}
	return true;
}

#endif
