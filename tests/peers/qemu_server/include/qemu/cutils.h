/* SPDX-License-Identifier: MIT */
/* Numbers on the command line. */
#ifndef TEST_QEMU_CUTILS_H
#define TEST_QEMU_CUTILS_H

#include <errno.h>
#include <stdlib.h>

/* All of text is a number that is not negative; else a negative errno. */
static inline int parse_uint_full(const char *text, unsigned long long *value, int base)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, base);
	if (errno)
		return -errno;
	return end == text || *end || text[0] == '-' ? -EINVAL : 0;
}

#endif
