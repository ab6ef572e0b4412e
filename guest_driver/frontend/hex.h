/* SPDX-License-Identifier: MIT */
#ifndef HEX_H
#define HEX_H

#include <stddef.h>

/* A word, a blank, the bytes as hexadecimal digits, on one line of standard output. */
void hex_print(const char *word, const unsigned char *data, size_t length);

#endif
