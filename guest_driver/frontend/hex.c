/* SPDX-License-Identifier: MIT */
#include "hex.h"

#include <stdio.h>

void hex_print(const char *word, const unsigned char *data, size_t length)
{
	printf("%s ", word);
	for (size_t i = 0; i < length; i++)
		printf("%02x", data[i]);
	putchar('\n');
}
