// SPDX-License-Identifier: GPL-2.0-only
/* Hands out the ring blocks that the back-end placed: see placement.h. */
#include <linux/align.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "link.h"
#include "window.h"

static u32 split_ring_length(u32 size)
{
	return ALIGN(16 * size + 6 + 2 * size, RING_ALIGNMENT) + 6 + 8 * size;
}

static u32 packed_ring_length(u32 size)
{
	return ALIGN(16 * size, RING_ALIGNMENT) + RING_ALIGNMENT + 4;
}

/* Reads where the back-end placed a queue. Length 0: nowhere, or nowhere we can use, and then it says why. */
int ivshmem_placement_read(struct ivshmem_link *link, unsigned int queue, unsigned int size, u32 *offset, u32 *length)
{
	const struct ivshmem_header *header = &link->peer.header;
	u32 lines = header->extension + EVENT_BYTES + ALIGN(header->queue_count, EXTENSION_LINE);
	const u8 *line = link->window + lines + queue * EXTENSION_LINE;
	u64 at;
	u32 bytes;

	*offset = 0;
	*length = 0;
	if (!ivshmem_peer_can(link, CAPABILITY_PLACED_RINGS))
		return 0;
	if (queue >= header->queue_count)
		return -EPROTO;
	at = shared_read64(line, QUEUE_LINE_RING_OFFSET);
	bytes = shared_read32(line, QUEUE_LINE_RING_LENGTH);
	if (!at)
		return 0;
	if (!IS_ALIGNED(at, RING_ALIGNMENT) || at < header->extension + header->extension_length ||
	    at >= header->size || bytes > header->size - at) {
		dev_err_ratelimited(&link->adev.dev, "queue %u: ring block %#llx, %u bytes lies outside the back-end's room\n",
			queue, at, bytes);
		return -EPROTO;
	}
	if (bytes < max(split_ring_length(size), packed_ring_length(size))) {
		dev_info_ratelimited(&link->adev.dev, "queue %u: ring block of %u bytes is too small for %u entries, not used\n",
			 queue, bytes, size);
		return 0;
	}
	*offset = at;
	*length = bytes;
	return 0;
}

void ivshmem_placement_begin(struct ivshmem_link *link, u32 offset, u32 length)
{
	link->placement.next = offset;
	link->placement.end = offset + length;
	WRITE_ONCE(link->placement.task, current);
}

void ivshmem_placement_end(struct ivshmem_link *link)
{
	WRITE_ONCE(link->placement.task, NULL);
}

/* The caller is making a queue: what it allocates is the queue's ring. */
bool ivshmem_placement_is_making(const struct ivshmem_link *link)
{
	return READ_ONCE(link->placement.task) == current;
}

/* NULL: not making a queue, or it does not fit. */
void *ivshmem_placement_allocate(struct ivshmem_link *link, size_t size, dma_addr_t *address)
{
	struct ivshmem_placement *placement = &link->placement;
	u32 at;

	if (!ivshmem_placement_is_making(link))
		return NULL;
	at = ALIGN(placement->next, RING_ALIGNMENT);
	if (!at || at > placement->end || size > placement->end - at)
		return NULL;
	placement->next = at + size;
	placement->adopted++;
	memset(link->window + at, 0, size);
	*address = at;
	return link->window + at;
}

struct private_memory {
	struct hlist_node node;
	u64 address;
	void *memory;
};

/* Zeroed memory that stands for what is at that address of the window. */
void *ivshmem_placement_make_private(struct ivshmem_link *link, size_t size, u64 address)
{
	struct ivshmem_placement *placement = &link->placement;
	struct private_memory *made = kmalloc(sizeof(*made), GFP_KERNEL);
	void *memory = kvzalloc(size, GFP_KERNEL);

	if (!made || !memory) {
		kfree(made);
		kvfree(memory);
		return NULL;
	}
	made->address = address;
	made->memory = memory;
	spin_lock(&placement->lock);
	hlist_add_head(&made->node, &placement->private);
	spin_unlock(&placement->lock);
	return memory;
}

void ivshmem_placement_free_private(struct ivshmem_link *link, void *memory)
{
	struct ivshmem_placement *placement = &link->placement;
	struct private_memory *at, *found = NULL;

	spin_lock(&placement->lock);
	hlist_for_each_entry(at, &placement->private, node) {
		if (at->memory != memory)
			continue;
		found = at;
		hlist_del(&at->node);
		break;
	}
	spin_unlock(&placement->lock);
	kfree(found);
	kvfree(memory);
}

/*
 * What the core has in the place of that address, or NULL. While a ring is made anew there may be two of them, and the
 * newer one counts, unless it was freed again because the ring could not be made.
 */
void *ivshmem_placement_memory(struct ivshmem_link *link, u64 address)
{
	struct ivshmem_placement *placement = &link->placement;
	struct private_memory *at;
	void *memory = NULL;

	spin_lock(&placement->lock);
	hlist_for_each_entry(at, &placement->private, node) {
		if (at->address != address)
			continue;
		memory = at->memory;
		break;
	}
	spin_unlock(&placement->lock);
	return memory;
}

/* Everything below the header's size belongs to the back-end; only its ring blocks were ever handed out there. */
bool ivshmem_placement_owns(const struct ivshmem_link *link, dma_addr_t address)
{
	return address < link->peer.header.size;
}
