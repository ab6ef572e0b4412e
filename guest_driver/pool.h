/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Room in a window, given out in blocks of a power of two granules ("buddies"). Taking, giving back and finding
 * the block around an address all cost a number of steps bounded by the number of orders, whatever the window's
 * size. Each CPU keeps a few blocks of the smaller orders on a shelf of its own (shelf.h), so that most of the time
 * nothing is split, nothing is put together again, and no lock is waited for. Nothing the pool decides by is kept in
 * shared memory.
 */
#ifndef VIRTIO_IVSHMEM_POOL_H
#define VIRTIO_IVSHMEM_POOL_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/dma-direction.h>
#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define POOL_ORDERS 32
#define POOL_NONE U32_MAX
#define SHELF_ORDERS 12

enum ivshmem_block_kind {
	BLOCK_INTERIOR,		/* not the first granule of a block, or in nobody's hands for a moment */
	BLOCK_FREE,
	BLOCK_SHELVED,		/* free too, at hand for one CPU */
	BLOCK_MAPPED,		/* bounces a buffer of the guest's memory */
	BLOCK_COHERENT,		/* memory a driver asked for (rings without a place of their own) */
};

/* One for each granule; says something at the first granule of a block only. */
struct ivshmem_block {
	union {
		phys_addr_t original;	/* mapped: where the guest's buffer is */
		struct {
			u32 next;
			u32 previous;
		};			/* free: the other free blocks of its order; on a shelf: the next one there */
	};
	u32 size;			/* bytes in use */
	u8 kind;
	u8 order;
	u8 direction;
};

struct ivshmem_shelf;

/* What happened on one CPU; only the sums over all mean something. They outlive the opening and closing of the pool. */
struct ivshmem_pool_counts {
	u64 maps;
	u64 unmaps;
	u64 allocations;
	u64 frees;
	u64 failures;
	u64 bytes_to_window;
	u64 bytes_from_window;
};

struct ivshmem_pool {
	struct ivshmem_block *blocks;
	struct ivshmem_shelf __percpu *shelves;
	struct ivshmem_pool_counts __percpu *counts;
	u64 capacity;			/* bytes that can be given out */
	u32 granules;
	unsigned int granule_shift;
	u16 shelf_depth[SHELF_ORDERS];	/* blocks that a shelf has room for; 0: the order is not kept on shelves */

	atomic64_t used ____cacheline_aligned_in_smp;	/* bytes in blocks that are out */
	atomic64_t most_used;

	spinlock_t lock ____cacheline_aligned_in_smp;	/* the free blocks */
	u32 free_lists[POOL_ORDERS];
	u32 orders_with_room;		/* bit n: free_lists[n] is not empty */
};

/* Blocks nobody gave back before the pool was closed. */
struct ivshmem_leftover {
	u64 mappings;
	u64 allocations;
};

int ivshmem_pool_init(struct ivshmem_pool *pool);
void ivshmem_pool_destroy(struct ivshmem_pool *pool);
int ivshmem_pool_open(struct ivshmem_pool *pool, u64 start, u64 end);
void ivshmem_pool_close(struct ivshmem_pool *pool, struct ivshmem_leftover *leftover);
bool ivshmem_pool_is_open(const struct ivshmem_pool *pool);
struct ivshmem_block *ivshmem_pool_take(struct ivshmem_pool *pool, u32 size, enum ivshmem_block_kind kind, u64 reserve);
void ivshmem_pool_give(struct ivshmem_pool *pool, struct ivshmem_block *block);
struct ivshmem_block *ivshmem_pool_find(struct ivshmem_pool *pool, u64 address);
void ivshmem_pool_count(const struct ivshmem_pool *pool, struct ivshmem_pool_counts *sum);

static inline u64 ivshmem_pool_address(const struct ivshmem_pool *pool, const struct ivshmem_block *block)
{
	return (u64)(block - pool->blocks) << pool->granule_shift;
}

/*
 * The block in use that starts at an address, or NULL. No lock: the caller owns the block. What is not the start of a
 * block of the caller's is told by the record, whose kind is another.
 */
static inline struct ivshmem_block *ivshmem_pool_at(const struct ivshmem_pool *pool, u64 address,
						    enum ivshmem_block_kind kind)
{
	u64 granule = address >> pool->granule_shift;
	struct ivshmem_block *block;

	if (unlikely(!pool->blocks || granule >= pool->granules || granule << pool->granule_shift != address))
		return NULL;
	block = &pool->blocks[granule];
	return likely(READ_ONCE(block->kind) == kind) ? block : NULL;
}

/* For shelf.c, with the lock held: a free block of that order, or POOL_NONE; and the way back. */
u32 ivshmem_pool_split_off(struct ivshmem_pool *pool, unsigned int order);
void ivshmem_pool_merge(struct ivshmem_pool *pool, u32 index);

#endif
