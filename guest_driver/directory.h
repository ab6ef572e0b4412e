/* SPDX-License-Identifier: GPL-2.0-only */
/* Checked copies of the directory at the start of a region (docs/protocol.md, section 2). */
#ifndef VIRTIO_IVSHMEM_DIRECTORY_H
#define VIRTIO_IVSHMEM_DIRECTORY_H

#include <linux/types.h>

#include "protocol.h"

struct ivshmem_directory {
	u32 size;
	u32 link_count;
};

struct ivshmem_entry {
	u32 state;
	u32 device_id;
	u32 backend_peer;
	u64 offset;
	u64 rw_size;
	u32 state_table_size;
	u32 output_size;
	u16 frontend_vector;
	u16 frontend_vectors;
	u16 backend_vector;
	u16 backend_vectors;
	char name[ENTRY_NAME_BYTES + 1];
};

int ivshmem_directory_read(const u8 *region, u64 region_size, struct ivshmem_directory *directory);
int ivshmem_entry_read(const u8 *region, u64 region_size, const struct ivshmem_directory *directory, u32 index,
		       struct ivshmem_entry *entry);
u64 ivshmem_entry_end(const struct ivshmem_entry *entry);
bool ivshmem_entry_same_place(const struct ivshmem_entry *one, const struct ivshmem_entry *other);

#endif
