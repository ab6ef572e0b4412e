/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Room in a window, given out in blocks of a power of two granules ("buddies"). Taking, giving back and finding
 * the block around an address all cost a number of steps bounded by the number of orders, whatever the window's
 * size. Nothing the pool decides by is kept in shared memory.
 */
#ifndef VIRTIO_IVSHMEM_POOL_H
#define VIRTIO_IVSHMEM_POOL_H

#include <linux/dma-direction.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#define POOL_ORDERS 32
#define POOL_NONE U32_MAX

enum ivshmem_block_kind {
	BLOCK_INTERIOR,		/* not the first granule of a block */
	BLOCK_FREE,
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
		};			/* free: the other free blocks of its order */
	};
	u32 size;			/* bytes in use */
	u8 kind;
	u8 order;
	u8 direction;
};

struct ivshmem_pool {
	spinlock_t lock;		/* everything below */
	struct ivshmem_block *blocks;
	u32 granules;
	unsigned int granule_shift;
	u32 free_lists[POOL_ORDERS];
	u32 orders_with_room;		/* bit n: free_lists[n] is not empty */
	u64 capacity;			/* bytes that can be given out */
	u64 free;
	u64 least_free;
	u64 live;			/* blocks out */
	u64 maps;
	u64 unmaps;
	u64 failures;
};

/* Blocks nobody gave back before the pool was closed. */
struct ivshmem_leftover {
	u64 mappings;
	u64 allocations;
};

int ivshmem_pool_open(struct ivshmem_pool *pool, u64 start, u64 end);
void ivshmem_pool_close(struct ivshmem_pool *pool, struct ivshmem_leftover *leftover);
bool ivshmem_pool_is_open(const struct ivshmem_pool *pool);
struct ivshmem_block *ivshmem_pool_take(struct ivshmem_pool *pool, u32 size, enum ivshmem_block_kind kind, u64 reserve);
void ivshmem_pool_give(struct ivshmem_pool *pool, struct ivshmem_block *block);
struct ivshmem_block *ivshmem_pool_find(struct ivshmem_pool *pool, u64 address);
u64 ivshmem_pool_address(const struct ivshmem_pool *pool, const struct ivshmem_block *block);

#endif
