/* SPDX-License-Identifier: MIT */
/* One link as its front-end: states, incarnation, and what the back-end published (docs/protocol.md, 3, 6 and 7). */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "directory.h"
#include "pci.h"
#include "window.h"

struct link {
	const struct ivshmem *ivshmem;
	struct entry entry;
	struct window state_table;
	struct window window;
	/* Of the header, read once and checked */
	uint32_t revision;
	uint32_t reserved;		/* the header's size: the driver's memory begins there */
	uint32_t extension;		/* offset, 0 = revision 1 */
	uint32_t extension_length;
	uint32_t capabilities;		/* of both sides */
	uint64_t epoch;
	uint32_t config_length;
	uint16_t config_vector;
	uint16_t queue_count;
	/* Own */
	uint64_t incarnation;
	uint32_t heartbeat;
};

/* Find the link's memory; says nothing to the back-end. */
void link_open(struct link *link, const struct ivshmem *ivshmem, const struct entry *entry);

uint32_t link_backend_state(const struct link *link);

/*
 * Wait for the back-end, introduce this driver, wait for its acknowledgement. From here on the program's end, however it
 * comes, leaves the link with state 0. `take_over`: also where a front-end seems to be on the link.
 */
void link_bring_up(struct link *link, bool take_over);

/* Fails unless the back-end is there and still the one that was met; also counts the own heartbeat up. */
void link_check(struct link *link);

/* Ring a link-relative vector of the back-end. */
void link_ring(const struct link *link, uint32_t vector);

/* Host-placed ring block of a queue; false where there is none. */
bool link_ring_block(const struct link *link, uint32_t queue, uint64_t *offset, uint32_t *length);

#endif
