// SPDX-License-Identifier: GPL-2.0-only
/* The buddy allocator of a window: see pool.h. */
#include <linux/bitops.h>
#include <linux/err.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "pool.h"

/* Small granules save room where room is scarce; large ones save records where it is not. */
static unsigned int granule_shift_for(u64 end)
{
	if (end <= SZ_1M)
		return 6;
	return end <= SZ_16M ? 7 : 8;
}

static u32 index_of(const struct ivshmem_pool *pool, const struct ivshmem_block *block)
{
	return block - pool->blocks;
}

static u64 bytes_of(const struct ivshmem_pool *pool, unsigned int order)
{
	return 1ULL << (order + pool->granule_shift);
}

u64 ivshmem_pool_address(const struct ivshmem_pool *pool, const struct ivshmem_block *block)
{
	return (u64)index_of(pool, block) << pool->granule_shift;
}

static void link_free(struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	struct ivshmem_block *block = &pool->blocks[index];
	u32 next = pool->free_lists[order];

	block->kind = BLOCK_FREE;
	block->order = order;
	block->next = next;
	block->previous = POOL_NONE;
	if (next != POOL_NONE)
		pool->blocks[next].previous = index;
	pool->free_lists[order] = index;
	pool->orders_with_room |= BIT(order);
}

static void unlink_free(struct ivshmem_pool *pool, u32 index)
{
	struct ivshmem_block *block = &pool->blocks[index];
	unsigned int order = block->order;

	if (block->next != POOL_NONE)
		pool->blocks[block->next].previous = block->previous;
	if (block->previous != POOL_NONE)
		pool->blocks[block->previous].next = block->next;
	else
		pool->free_lists[order] = block->next;
	if (pool->free_lists[order] == POOL_NONE)
		pool->orders_with_room &= ~BIT(order);
	block->kind = BLOCK_INTERIOR;
}

/* Puts [first, end) on the free lists in blocks as large as alignment and length allow. */
static void add_free_range(struct ivshmem_pool *pool, u32 first, u32 end)
{
	while (first < end) {
		unsigned int order = min_t(unsigned int, __ffs(first), ilog2(end - first));

		order = min_t(unsigned int, order, POOL_ORDERS - 1);
		link_free(pool, first, order);
		first += 1U << order;
	}
}

/* Addresses are offsets from the window's start; [start, end) may be given out. start is above 0. */
int ivshmem_pool_open(struct ivshmem_pool *pool, u64 start, u64 end)
{
	unsigned int order;
	u64 granules;
	u32 first;

	pool->granule_shift = granule_shift_for(end);
	granules = end >> pool->granule_shift;
	first = DIV_ROUND_UP_ULL(start, BIT(pool->granule_shift));
	if (granules > S32_MAX || first >= granules || !first)
		return -ENOSPC;

	pool->blocks = kvcalloc(granules, sizeof(*pool->blocks), GFP_KERNEL);
	if (!pool->blocks)
		return -ENOMEM;

	for (order = 0; order < POOL_ORDERS; order++)
		pool->free_lists[order] = POOL_NONE;
	pool->orders_with_room = 0;
	pool->granules = granules;
	add_free_range(pool, first, granules);
	pool->capacity = (granules - first) << pool->granule_shift;
	pool->free = pool->capacity;
	pool->least_free = pool->capacity;
	pool->live = 0;
	return 0;
}

bool ivshmem_pool_is_open(const struct ivshmem_pool *pool)
{
	return pool->blocks;
}

/* Takes back whatever is still out, and says how much that was. */
void ivshmem_pool_close(struct ivshmem_pool *pool, struct ivshmem_leftover *leftover)
{
	struct ivshmem_block *blocks = pool->blocks;
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	leftover->mappings = pool->maps - pool->unmaps;
	leftover->allocations = pool->live - leftover->mappings;
	pool->unmaps += leftover->mappings;
	pool->blocks = NULL;
	pool->live = 0;
	pool->free = 0;
	pool->capacity = 0;
	spin_unlock_irqrestore(&pool->lock, flags);
	kvfree(blocks);
}

static u32 split_off(struct ivshmem_pool *pool, unsigned int order)
{
	unsigned int have = __ffs(pool->orders_with_room >> order) + order;
	u32 index = pool->free_lists[have];

	unlink_free(pool, index);
	while (have > order) {
		have--;
		link_free(pool, index + (1U << have), have);
	}
	return index;
}

/* NULL when there is no room, or when less than `reserve` bytes would be left. Fills in all but the original. */
struct ivshmem_block *ivshmem_pool_take(struct ivshmem_pool *pool, u32 size, enum ivshmem_block_kind kind, u64 reserve)
{
	unsigned int order = order_base_2(DIV_ROUND_UP(size, 1U << pool->granule_shift));
	u64 bytes = bytes_of(pool, order);
	struct ivshmem_block *block = NULL;
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	if (pool->blocks && order < POOL_ORDERS && pool->orders_with_room >> order && pool->free >= bytes + reserve) {
		block = &pool->blocks[split_off(pool, order)];
		block->kind = kind;
		block->order = order;
		block->size = size;
		pool->free -= bytes;
		pool->least_free = min(pool->least_free, pool->free);
		pool->live++;
		if (kind == BLOCK_MAPPED)
			pool->maps++;
	} else {
		pool->failures++;
	}
	spin_unlock_irqrestore(&pool->lock, flags);
	return block;
}

static bool is_free_block(const struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	const struct ivshmem_block *block = &pool->blocks[index];

	return block->kind == BLOCK_FREE && block->order == order;
}

void ivshmem_pool_give(struct ivshmem_pool *pool, struct ivshmem_block *block)
{
	unsigned int order = block->order;
	u32 index = index_of(pool, block);
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	pool->free += bytes_of(pool, order);
	pool->live--;
	if (block->kind == BLOCK_MAPPED)
		pool->unmaps++;
	block->kind = BLOCK_INTERIOR;
	while (order < POOL_ORDERS - 1) {
		u32 buddy = index ^ (1U << order);

		if (buddy >= pool->granules || !is_free_block(pool, buddy, order))
			break;
		unlink_free(pool, buddy);
		index = min(index, buddy);
		order++;
	}
	link_free(pool, index, order);
	spin_unlock_irqrestore(&pool->lock, flags);
}

/*
 * The block in use around an address, or NULL. A block starts at a multiple of its own size, so its first granule is
 * met by clearing one more low bit at a time. No lock: the caller owns the block, and no record inside it changes.
 */
struct ivshmem_block *ivshmem_pool_find(struct ivshmem_pool *pool, u64 address)
{
	u64 granule = address >> pool->granule_shift;
	unsigned int order;

	if (!pool->blocks || granule >= pool->granules)
		return NULL;
	for (order = 0; order < POOL_ORDERS; order++) {
		struct ivshmem_block *block = &pool->blocks[granule & ~(BIT_ULL(order) - 1)];

		if (block->kind == BLOCK_INTERIOR)
			continue;
		if (block->kind == BLOCK_FREE || block->order < order)
			return NULL;
		return block;
	}
	return NULL;
}
