/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of a buffer, so that a guest without any tool can compare what it read. */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>

#define SHA256_HEX 65

void sha256_hex(char digest[SHA256_HEX], const unsigned char *data, size_t length);

#endif
