// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bounce buffers. A buffer that the device only writes is not copied in: that would show the guest's old memory to
 * the peer. What the peer left unwritten then comes back as whatever stood in the window.
 */
#include <linux/highmem.h>
#include <linux/log2.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "accounting.h"
#include "bounce.h"
#include "link.h"
#include "request_size.h"

#define LARGEST_MAPPING SZ_256K
/* Receive buffers wait for the peer without end; they leave this part of the window for those that get done. */
#define RECEIVE_RESERVE 8

/* Page by page, where a buffer in high memory is not in the kernel's map as a whole. */
static void copy_pages(u8 *window, phys_addr_t original, size_t size, bool to_window)
{
	while (size) {
		size_t part = min_t(size_t, size, PAGE_SIZE - offset_in_page(original));
		u8 *page = kmap_local_page(pfn_to_page(PHYS_PFN(original)));
		u8 *buffer = page + offset_in_page(original);

		if (to_window)
			memcpy(window, buffer, part);
		else
			memcpy(buffer, window, part);
		kunmap_local(page);
		window += part;
		original += part;
		size -= part;
	}
}

static void copy(struct ivshmem_link *link, u64 address, phys_addr_t original, size_t size, bool to_window)
{
	u8 *window = link->window + address;

	if (IS_ENABLED(CONFIG_HIGHMEM))
		copy_pages(window, original, size, to_window);
	else if (to_window)
		memcpy(window, phys_to_virt(original), size);
	else
		memcpy(phys_to_virt(original), window, size);
	if (to_window)
		this_cpu_add(link->pool.counts->bytes_to_window, size);
	else
		this_cpu_add(link->pool.counts->bytes_from_window, size);
}

static bool device_reads(enum dma_data_direction direction)
{
	return direction != DMA_FROM_DEVICE;
}

static bool device_writes(enum dma_data_direction direction)
{
	return direction != DMA_TO_DEVICE;
}

/* The longest single mapping: an eighth of the room, so that one request's parts fit beside those of others. */
size_t ivshmem_bounce_limit(struct ivshmem_link *link)
{
	u64 eighth = READ_ONCE(link->pool.capacity) / 8;
	u64 longest = eighth ? rounddown_pow_of_two(eighth) : 0;

	if (link->entry.device_id == VIRTIO_ID_BLOCK)
		longest = min_t(u64, longest, round_down(ivshmem_request_piece(link), PAGE_SIZE));
	return clamp_t(u64, longest, PAGE_SIZE, LARGEST_MAPPING);
}

dma_addr_t ivshmem_bounce_map(struct ivshmem_link *link, phys_addr_t original, size_t size,
			      enum dma_data_direction direction, unsigned long attributes)
{
	struct ivshmem_pool *pool = &link->pool;
	u64 reserve = direction == DMA_FROM_DEVICE ? READ_ONCE(pool->capacity) / RECEIVE_RESERVE : 0;
	struct ivshmem_block *block = NULL;
	u64 address;

	if (size && size <= S32_MAX)
		block = ivshmem_pool_take(pool, size, BLOCK_MAPPED, reserve);
	if (!block) {
		atomic64_inc(&ivshmem_accounting.map_failures);
		return DMA_MAPPING_ERROR;
	}
	this_cpu_inc(ivshmem_mapping_counts.maps);
	block->original = original;
	block->direction = direction;
	address = ivshmem_pool_address(pool, block);
	if (device_reads(direction) && !(attributes & DMA_ATTR_SKIP_CPU_SYNC))
		copy(link, address, original, size, true);
	return address;
}

static noinline void complain(struct ivshmem_link *link, dma_addr_t address)
{
	dev_err_once(&link->adev.dev, "a driver gave back %pad, which it does not have\n", &address);
}

/* The block that starts at an address and is of that kind; anything else is a bug of the caller. */
static struct ivshmem_block *block_at(struct ivshmem_link *link, dma_addr_t address, enum ivshmem_block_kind kind)
{
	struct ivshmem_block *block = ivshmem_pool_at(&link->pool, address, kind);

	if (unlikely(!block))
		complain(link, address);
	return block;
}

void ivshmem_bounce_unmap(struct ivshmem_link *link, dma_addr_t address, enum dma_data_direction direction,
			  unsigned long attributes)
{
	struct ivshmem_block *block = block_at(link, address, BLOCK_MAPPED);

	if (!block)
		return;
	if (device_writes(direction) && !(attributes & DMA_ATTR_SKIP_CPU_SYNC))
		copy(link, address, block->original, block->size, false);
	ivshmem_pool_give(&link->pool, block);
	this_cpu_inc(ivshmem_mapping_counts.unmaps);
}

/* Any part of a mapping, so the address may lie inside it. */
void ivshmem_bounce_sync(struct ivshmem_link *link, dma_addr_t address, size_t size, bool for_cpu)
{
	struct ivshmem_block *block = ivshmem_pool_find(&link->pool, address);
	u64 offset;

	if (!block || block->kind != BLOCK_MAPPED) {
		dev_err_once(&link->adev.dev, "a driver synchronizes %pad, which is not mapped\n", &address);
		return;
	}
	offset = address - ivshmem_pool_address(&link->pool, block);
	if (offset > block->size || size > block->size - offset) {
		dev_err_once(&link->adev.dev, "a driver synchronizes %zu bytes at %pad, more than it mapped\n",
			     size, &address);
		return;
	}
	if (for_cpu ? device_writes(block->direction) : device_reads(block->direction))
		copy(link, address, block->original + offset, size, !for_cpu);
}

/* Zeroed memory in the window: the ring block of the queue being made, or else any room. */
static void *allocate_shared(struct ivshmem_link *link, size_t size, dma_addr_t *address)
{
	struct ivshmem_block *block;
	void *memory = ivshmem_placement_allocate(link, size, address);

	if (memory)
		return memory;
	if (!size || size > S32_MAX)
		return NULL;
	block = ivshmem_pool_take(&link->pool, size, BLOCK_COHERENT, 0);
	if (!block)
		return NULL;
	atomic64_inc(&ivshmem_accounting.coherent_allocated);
	*address = ivshmem_pool_address(&link->pool, block);
	memory = link->window + *address;
	memset(memory, 0, size);
	return memory;
}

static void free_shared(struct ivshmem_link *link, dma_addr_t address)
{
	struct ivshmem_block *block;

	if (ivshmem_placement_owns(link, address))
		return;
	block = block_at(link, address, BLOCK_COHERENT);
	if (!block)
		return;
	ivshmem_pool_give(&link->pool, block);
	atomic64_inc(&ivshmem_accounting.coherent_freed);
}

/* The core gets a ring in memory of our own at the address of the one in the window: see private_ring.h. */
void *ivshmem_bounce_allocate(struct ivshmem_link *link, size_t size, dma_addr_t *address)
{
	void *shared = allocate_shared(link, size, address);
	void *private;

	if (!shared || !ivshmem_placement_is_making(link))
		return shared;
	private = ivshmem_placement_make_private(link, size, *address);
	if (!private)
		free_shared(link, *address);
	return private;
}

void ivshmem_bounce_free(struct ivshmem_link *link, void *memory, dma_addr_t address)
{
	if (memory != link->window + address)
		ivshmem_placement_free_private(link, memory);
	free_shared(link, address);
}
