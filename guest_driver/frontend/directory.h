/* SPDX-License-Identifier: MIT */
/* The directory at the start of a region: which links there are (docs/protocol.md, 2). */
#ifndef DIRECTORY_H
#define DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "window.h"

struct entry {
	uint32_t number;
	uint32_t state;
	uint32_t device_id;
	uint32_t backend_peer;
	uint64_t offset;
	uint64_t rw_size;
	uint32_t state_table_size;
	uint32_t output_size;
	uint16_t backend_vector;
	uint16_t backend_vectors;
	char name[ENTRY_NAME_BYTES + 1];
};

struct directory {
	const struct window *region;
	uint32_t size;
	uint64_t region_size;
	uint32_t links;
};

/* Wait for the magic, then check the header. */
void directory_open(struct directory *directory, const struct window *region);

/* A settled and checked copy of one entry; false where it is not in use. */
bool directory_entry(const struct directory *directory, uint32_t number, struct entry *entry);

/* The entry of that name, or of that number. */
void directory_find(const struct directory *directory, const char *name, struct entry *entry);

/* "blk" and so on; "device" for types without a word. */
const char *device_type(uint32_t device_id);

#endif
