// SPDX-License-Identifier: GPL-2.0-only
/* Reads the directory: each number once, and every number checked before anybody uses it. */
#include <linux/align.h>
#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "directory.h"
#include "window.h"

#define COPY_TRIES 8
#define DIRECTORY_LIMIT SZ_64K	/* a thousand links */

/* -EAGAIN: no directory there yet. -EPROTO: there is one, and it is not one we can use. */
int ivshmem_directory_read(const u8 *region, u64 region_size, struct ivshmem_directory *directory)
{
	u64 named_size;

	if (memcmp(region, DIRECTORY_MAGIC, DIRECTORY_MAGIC_SIZE))
		return -EAGAIN;
	virt_rmb();	/* the magic is written last */

	directory->size = shared_read32(region, DIRECTORY_SIZE);
	directory->link_count = shared_read32(region, DIRECTORY_LINK_COUNT);
	named_size = shared_read64(region, DIRECTORY_REGION_SIZE);
	if (shared_read32(region, DIRECTORY_VERSION) != DIRECTORY_VERSION_KNOWN ||
	    shared_read32(region, DIRECTORY_ENTRY_SIZE) != DIRECTORY_ENTRY_BYTES)
		return -EPROTO;
	if (!directory->size || !IS_ALIGNED(directory->size, LINK_ALIGNMENT) || directory->size > min_t(u64, region_size, DIRECTORY_LIMIT) ||
	    named_size > region_size)
		return -EPROTO;
	if (directory->link_count > (directory->size - DIRECTORY_FIRST_ENTRY) / DIRECTORY_ENTRY_BYTES)
		return -EPROTO;
	return 0;
}

/* The name is for people, and goes into log lines: printable ASCII only. */
static void copy_name(struct ivshmem_entry *entry, const u8 *from)
{
	unsigned int i;

	for (i = 0; i < ENTRY_NAME_BYTES; i++) {
		char c = from[i];

		if (!c)
			break;
		entry->name[i] = isascii(c) && isprint(c) ? c : '?';
	}
	entry->name[i] = 0;
}

static void decode(struct ivshmem_entry *entry, const u8 *copy)
{
	entry->state = shared_read32(copy, ENTRY_STATE);
	entry->device_id = shared_read32(copy, ENTRY_DEVICE_ID);
	entry->backend_peer = shared_read32(copy, ENTRY_BACKEND_PEER);
	entry->offset = shared_read64(copy, ENTRY_OFFSET);
	entry->rw_size = shared_read64(copy, ENTRY_RW_SIZE);
	entry->state_table_size = shared_read32(copy, ENTRY_STATE_TABLE_SIZE);
	entry->output_size = shared_read32(copy, ENTRY_OUTPUT_SIZE);
	entry->frontend_vector = shared_read16(copy, ENTRY_FRONTEND_VECTOR);
	entry->frontend_vectors = shared_read16(copy, ENTRY_FRONTEND_VECTORS);
	entry->backend_vector = shared_read16(copy, ENTRY_BACKEND_VECTOR);
	entry->backend_vectors = shared_read16(copy, ENTRY_BACKEND_VECTORS);
	copy_name(entry, copy + ENTRY_NAME);
}

static bool fits(const struct ivshmem_entry *entry, u64 region_size, u32 directory_size)
{
	u64 room;

	if (!IS_ALIGNED(entry->offset, LINK_ALIGNMENT) || !IS_ALIGNED(entry->rw_size, LINK_ALIGNMENT) ||
	    !IS_ALIGNED(entry->state_table_size, LINK_ALIGNMENT) || !IS_ALIGNED(entry->output_size, LINK_ALIGNMENT))
		return false;
	if (entry->offset < directory_size || entry->offset >= region_size)
		return false;
	room = region_size - entry->offset;
	if (entry->state_table_size < LINK_ALIGNMENT || entry->rw_size < WINDOW_MINIMUM || entry->rw_size > room)
		return false;
	if ((u64)entry->state_table_size + 2ULL * entry->output_size > room - entry->rw_size)
		return false;
	return entry->frontend_vectors && entry->backend_vectors && entry->device_id && entry->backend_peer <= U16_MAX;
}

/* -EAGAIN: the entry kept changing. -EPROTO: a link in use whose numbers cannot be true. */
int ivshmem_entry_read(const u8 *region, u64 region_size, const struct ivshmem_directory *directory, u32 index,
		       struct ivshmem_entry *entry)
{
	const u8 *source = region + DIRECTORY_FIRST_ENTRY + (u64)index * DIRECTORY_ENTRY_BYTES;
	u8 copy[DIRECTORY_ENTRY_BYTES] __aligned(8);
	unsigned int try;

	for (try = 0; try < COPY_TRIES; try++) {
		u32 before = shared_read32(source, ENTRY_SEQUENCE);

		virt_rmb();
		memcpy(copy, source, sizeof(copy));
		virt_rmb();
		if (before & 1 || shared_read32(source, ENTRY_SEQUENCE) != before)
			continue;
		decode(entry, copy);
		if (entry->state == ENTRY_STATE_FREE)
			return 0;
		return fits(entry, region_size, directory->size) ? 0 : -EPROTO;
	}
	return -EAGAIN;
}

/* First byte behind a link whose entry was checked. */
u64 ivshmem_entry_end(const struct ivshmem_entry *entry)
{
	return entry->offset + entry->state_table_size + entry->rw_size + 2ULL * entry->output_size;
}

/* Whether two entries describe the same memory and the same own vectors; the other side may have moved. */
bool ivshmem_entry_same_place(const struct ivshmem_entry *one, const struct ivshmem_entry *other)
{
	return one->device_id == other->device_id && one->offset == other->offset && one->rw_size == other->rw_size &&
	       one->state_table_size == other->state_table_size && one->output_size == other->output_size &&
	       one->frontend_vector == other->frontend_vector && one->frontend_vectors == other->frontend_vectors;
}
