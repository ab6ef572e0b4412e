/* SPDX-License-Identifier: MIT */
#include "directory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "patience.h"
#include "report.h"

#define ENTRY_TRIES 1000
#define LEAST_WINDOW (2 * PAGE_BYTES)

static bool magic_there(const struct window *region)
{
	char magic[8];

	window_read(region, 0, magic, sizeof(magic));
	return memcmp(magic, DIRECTORY_MAGIC, sizeof(magic)) == 0;
}

void directory_open(struct directory *directory, const struct window *region)
{
	struct deadline deadline = patience_start();
	uint32_t version, entry_size;

	while (!magic_there(region))
		if (!patience_nap(&deadline))
			fail("no directory in this region: nothing that serves it has set it up");
	version = window_load32(region, DIRECTORY_VERSION_OFFSET);
	if (version != 1)
		fail("the directory has version %" PRIu32 ", this program knows 1", version);
	directory->region = region;
	directory->size = window_load32(region, DIRECTORY_SIZE_OFFSET);
	directory->region_size = window_load64(region, DIRECTORY_REGION_SIZE);
	directory->links = window_load32(region, DIRECTORY_LINK_COUNT);
	entry_size = window_load32(region, DIRECTORY_ENTRY_SIZE);
	if (directory->region_size > region->length)
		fail("the directory is of a region of %" PRIu64 " bytes, this one has %" PRIu64, directory->region_size,
		     region->length);
	if (directory->size % PAGE_BYTES || directory->size == 0 || directory->size > directory->region_size)
		fail("the directory claims %" PRIu32 " bytes", directory->size);
	if (entry_size != ENTRY_BYTES)
		fail("directory entries have %" PRIu32 " bytes, not %u", entry_size, ENTRY_BYTES);
	if (directory->links > (directory->size - DIRECTORY_FIRST_ENTRY) / ENTRY_BYTES)
		fail("the directory claims %" PRIu32 " links, more than fit", directory->links);
}

static void copy_entry(const struct window *region, uint64_t at, struct entry *entry)
{
	entry->state = window_load32(region, at + ENTRY_STATE);
	entry->device_id = window_load32(region, at + ENTRY_DEVICE_ID);
	entry->backend_peer = window_load32(region, at + ENTRY_BACKEND_PEER);
	entry->offset = window_load64(region, at + ENTRY_OFFSET);
	entry->rw_size = window_load64(region, at + ENTRY_RW_SIZE);
	entry->state_table_size = window_load32(region, at + ENTRY_STATE_TABLE_SIZE);
	entry->output_size = window_load32(region, at + ENTRY_OUTPUT_SIZE);
	entry->backend_vector = window_load16(region, at + ENTRY_BACKEND_VECTOR);
	entry->backend_vectors = window_load16(region, at + ENTRY_BACKEND_VECTORS);
	window_read(region, at + ENTRY_NAME, entry->name, ENTRY_NAME_BYTES);
	entry->name[ENTRY_NAME_BYTES] = 0;
}

static void check_entry(const struct directory *directory, struct entry *entry)
{
	uint64_t room = directory->region_size;
	uint64_t fixed = (uint64_t)entry->state_table_size + 2 * (uint64_t)entry->output_size;

	/* Names go to terminals. */
	for (char *c = entry->name; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if ((entry->offset | entry->rw_size | entry->state_table_size | entry->output_size) % PAGE_BYTES)
		fail("link %s: a number of its directory entry is not a multiple of %u", entry->name, PAGE_BYTES);
	if (entry->offset < directory->size || entry->offset >= room || entry->rw_size > room ||
	    fixed + entry->rw_size > room - entry->offset)
		fail("link %s: does not lie between the directory and the end of the region", entry->name);
	if (entry->state_table_size == 0 || entry->rw_size < LEAST_WINDOW)
		fail("link %s: State Table or window too small", entry->name);
	if (entry->backend_peer > 0xffff || entry->backend_vectors == 0 ||
	    entry->backend_vector + entry->backend_vectors > 0x10000)
		fail("link %s: no such back-end peer or vector", entry->name);
}

bool directory_entry(const struct directory *directory, uint32_t number, struct entry *entry)
{
	uint64_t at = DIRECTORY_FIRST_ENTRY + (uint64_t)number * ENTRY_BYTES;

	for (unsigned int i = 0; i < ENTRY_TRIES; i++) {
		uint32_t before = window_load32(directory->region, at + ENTRY_SEQUENCE);

		copy_entry(directory->region, at, entry);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (before % 2 || window_load32(directory->region, at + ENTRY_SEQUENCE) != before)
			continue;
		entry->number = number;
		if (entry->state != ENTRY_IN_USE)
			return false;
		check_entry(directory, entry);
		return true;
	}
	fail("directory entry %" PRIu32 " is still changing after %d tries", number, ENTRY_TRIES);
}

void directory_find(const struct directory *directory, const char *name, struct entry *entry)
{
	char *end;
	unsigned long wanted = strtoul(name, &end, 10);

	for (uint32_t i = 0; i < directory->links; i++)
		if (directory_entry(directory, i, entry) && strcmp(entry->name, name) == 0)
			return;
	if (*name && !*end && wanted < directory->links && directory_entry(directory, (uint32_t)wanted, entry))
		return;
	fail("no link %s in the directory; \"list\" shows what there is", name);
}

const char *device_type(uint32_t device_id)
{
	static const char *const words[] = { "device", "net", "blk", "console", "rng" };

	return device_id < sizeof(words) / sizeof(words[0]) ? words[device_id] : words[0];
}
