// SPDX-License-Identifier: GPL-2.0-only
/* The buddy allocator of a window: see pool.h. */
#include <linux/bitops.h>
#include <linux/err.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sizes.h>

#include "pool.h"
#include "shelf.h"

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

static void link_free(struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	struct ivshmem_block *block = &pool->blocks[index];
	u32 next = pool->free_lists[order];

	WRITE_ONCE(block->kind, BLOCK_FREE);
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
	WRITE_ONCE(block->kind, BLOCK_INTERIOR);
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

/* What outlives the times it is open. */
int ivshmem_pool_init(struct ivshmem_pool *pool)
{
	spin_lock_init(&pool->lock);
	pool->counts = alloc_percpu(struct ivshmem_pool_counts);
	if (!pool->counts)
		return -ENOMEM;
	if (!ivshmem_shelves_init(pool))
		return 0;
	free_percpu(pool->counts);
	return -ENOMEM;
}

void ivshmem_pool_destroy(struct ivshmem_pool *pool)
{
	ivshmem_shelves_destroy(pool);
	free_percpu(pool->counts);
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
	atomic64_set(&pool->used, 0);
	atomic64_set(&pool->most_used, 0);
	ivshmem_shelves_open(pool);
	return 0;
}

bool ivshmem_pool_is_open(const struct ivshmem_pool *pool)
{
	return pool->blocks;
}

void ivshmem_pool_count(const struct ivshmem_pool *pool, struct ivshmem_pool_counts *sum)
{
	int cpu;

	*sum = (struct ivshmem_pool_counts){};
	for_each_possible_cpu(cpu) {
		const struct ivshmem_pool_counts *part = per_cpu_ptr(pool->counts, cpu);

		sum->maps += part->maps;
		sum->unmaps += part->unmaps;
		sum->allocations += part->allocations;
		sum->frees += part->frees;
		sum->failures += part->failures;
		sum->bytes_to_window += part->bytes_to_window;
		sum->bytes_from_window += part->bytes_from_window;
	}
}

/* Its driver is gone, so nobody takes or gives any more. Takes back whatever is still out, and says how much that was. */
void ivshmem_pool_close(struct ivshmem_pool *pool, struct ivshmem_leftover *leftover)
{
	struct ivshmem_block *blocks = pool->blocks;
	struct ivshmem_pool_counts sum;

	ivshmem_pool_count(pool, &sum);
	leftover->mappings = sum.maps - sum.unmaps;
	leftover->allocations = sum.allocations - sum.frees;
	this_cpu_add(pool->counts->unmaps, leftover->mappings);
	this_cpu_add(pool->counts->frees, leftover->allocations);
	WRITE_ONCE(pool->capacity, 0);
	WRITE_ONCE(pool->blocks, NULL);
	atomic64_set(&pool->used, 0);
	kvfree(blocks);
}

u32 ivshmem_pool_split_off(struct ivshmem_pool *pool, unsigned int order)
{
	unsigned int have;
	u32 index;

	if (!(pool->orders_with_room >> order))
		return POOL_NONE;
	have = __ffs(pool->orders_with_room >> order) + order;
	index = pool->free_lists[have];
	unlink_free(pool, index);
	while (have > order) {
		have--;
		link_free(pool, index + (1U << have), have);
	}
	return index;
}

static bool is_free_block(const struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	const struct ivshmem_block *block = &pool->blocks[index];

	return READ_ONCE(block->kind) == BLOCK_FREE && block->order == order;
}

void ivshmem_pool_merge(struct ivshmem_pool *pool, u32 index)
{
	unsigned int order = pool->blocks[index].order;

	WRITE_ONCE(pool->blocks[index].kind, BLOCK_INTERIOR);
	while (order < POOL_ORDERS - 1) {
		u32 buddy = index ^ (1U << order);

		if (buddy >= pool->granules || !is_free_block(pool, buddy, order))
			break;
		unlink_free(pool, buddy);
		index = min(index, buddy);
		order++;
	}
	link_free(pool, index, order);
}

static noinline void note_most(struct ivshmem_pool *pool, s64 used)
{
	s64 most = atomic64_read(&pool->most_used);

	while (used > most && !atomic64_try_cmpxchg(&pool->most_used, &most, used))
		;
}

/* False: less than `reserve` bytes would be left. */
static bool book(struct ivshmem_pool *pool, u64 bytes, u64 reserve)
{
	s64 used = atomic64_read(&pool->used);

	do {
		if (used + bytes + reserve > READ_ONCE(pool->capacity))
			return false;
	} while (!atomic64_try_cmpxchg(&pool->used, &used, used + bytes));
	if (unlikely(used + (s64)bytes > atomic64_read(&pool->most_used)))
		note_most(pool, used + bytes);
	return true;
}

static noinline u32 take_from_pool(struct ivshmem_pool *pool, unsigned int order)
{
	unsigned long flags;
	u32 index;

	spin_lock_irqsave(&pool->lock, flags);
	index = ivshmem_pool_split_off(pool, order);
	spin_unlock_irqrestore(&pool->lock, flags);
	return index;
}

/* Room enough there is, but it may lie in pieces, on other CPUs' shelves too. */
static noinline u32 gather(struct ivshmem_pool *pool, unsigned int order)
{
	ivshmem_shelves_empty(pool);
	return take_from_pool(pool, order);
}

static u32 take_block(struct ivshmem_pool *pool, unsigned int order)
{
	u32 index = ivshmem_shelf_keeps(pool, order) ? ivshmem_shelf_take(pool, order) : take_from_pool(pool, order);

	return likely(index != POOL_NONE) ? index : gather(pool, order);
}

static noinline void give_to_pool(struct ivshmem_pool *pool, u32 index)
{
	unsigned long flags;

	spin_lock_irqsave(&pool->lock, flags);
	ivshmem_pool_merge(pool, index);
	spin_unlock_irqrestore(&pool->lock, flags);
}

static noinline struct ivshmem_block *fail(struct ivshmem_pool *pool)
{
	this_cpu_inc(pool->counts->failures);
	return NULL;
}

/*
 * NULL when there is no room, or when less than `reserve` bytes would be left. The size is above 0. Fills in all but
 * what a mapping is of.
 */
struct ivshmem_block *ivshmem_pool_take(struct ivshmem_pool *pool, u32 size, enum ivshmem_block_kind kind, u64 reserve)
{
	unsigned int order = fls((size - 1) >> pool->granule_shift);
	struct ivshmem_block *block;
	u32 index;

	if (order >= POOL_ORDERS || !book(pool, bytes_of(pool, order), reserve))
		return fail(pool);
	index = take_block(pool, order);
	if (index == POOL_NONE) {
		atomic64_sub(bytes_of(pool, order), &pool->used);
		return fail(pool);
	}
	block = &pool->blocks[index];
	block->order = order;
	block->size = size;
	WRITE_ONCE(block->kind, kind);
	if (kind == BLOCK_MAPPED)
		this_cpu_inc(pool->counts->maps);
	else
		this_cpu_inc(pool->counts->allocations);
	return block;
}

void ivshmem_pool_give(struct ivshmem_pool *pool, struct ivshmem_block *block)
{
	unsigned int order = block->order;
	u32 index = index_of(pool, block);

	if (block->kind == BLOCK_MAPPED)
		this_cpu_inc(pool->counts->unmaps);
	else
		this_cpu_inc(pool->counts->frees);
	if (ivshmem_shelf_keeps(pool, order))
		ivshmem_shelf_give(pool, index, order);
	else
		give_to_pool(pool, index);
	atomic64_sub(bytes_of(pool, order), &pool->used);
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
		u8 kind = READ_ONCE(block->kind);

		if (kind == BLOCK_INTERIOR)
			continue;
		return kind < BLOCK_MAPPED || block->order < order ? NULL : block;
	}
	return NULL;
}
