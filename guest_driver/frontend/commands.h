/* SPDX-License-Identifier: MIT */
/* What the program can do with a link that was brought up. Each prints its findings on standard output. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <stdint.h>

#include "link.h"

#define DEVICE_BLK 2u
#define DEVICE_CONSOLE 3u
#define DEVICE_RNG 4u

void blk_read(struct link *link, uint64_t sector);
void blk_write(struct link *link, uint64_t sector, const char *text);
void console_echo(struct link *link, const char *text);
void rng_draw(struct link *link, uint32_t count);

#endif
