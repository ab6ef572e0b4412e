/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Free blocks at hand for one CPU, last come, first served. A shelf's lock comes before the pool's; nobody holds two
 * shelves. This runs for every buffer of every request, hence inline.
 */
#ifndef VIRTIO_IVSHMEM_SHELF_H
#define VIRTIO_IVSHMEM_SHELF_H

#include <linux/percpu.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "pool.h"

struct ivshmem_shelf {
	spinlock_t lock;		/* another CPU may need what lies here */
	u16 count[SHELF_ORDERS];
	u32 first[SHELF_ORDERS];	/* the others follow by their records' `next` */
};

int ivshmem_shelves_init(struct ivshmem_pool *pool);
void ivshmem_shelves_destroy(struct ivshmem_pool *pool);
void ivshmem_shelves_open(struct ivshmem_pool *pool);
void ivshmem_shelves_empty(struct ivshmem_pool *pool);
void ivshmem_shelf_fill(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order);
void ivshmem_shelf_clear(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order, unsigned int keep);

static inline bool ivshmem_shelf_keeps(const struct ivshmem_pool *pool, unsigned int order)
{
	return order < SHELF_ORDERS && pool->shelf_depth[order];
}

static inline void ivshmem_shelf_push(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, u32 index,
				      unsigned int order)
{
	WRITE_ONCE(pool->blocks[index].kind, BLOCK_SHELVED);
	pool->blocks[index].next = shelf->first[order];
	shelf->first[order] = index;
	shelf->count[order]++;
}

/* There is one. */
static inline u32 ivshmem_shelf_pop(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order)
{
	u32 index = shelf->first[order];

	shelf->first[order] = pool->blocks[index].next;
	shelf->count[order]--;
	return index;
}

/* POOL_NONE: neither on this CPU's shelf nor in the pool. Whichever shelf it is, its lock is held. */
static inline u32 ivshmem_shelf_take(struct ivshmem_pool *pool, unsigned int order)
{
	struct ivshmem_shelf *shelf = raw_cpu_ptr(pool->shelves);
	u32 index = POOL_NONE;
	unsigned long flags;

	spin_lock_irqsave(&shelf->lock, flags);
	if (unlikely(!shelf->count[order]))
		ivshmem_shelf_fill(pool, shelf, order);
	if (likely(shelf->count[order]))
		index = ivshmem_shelf_pop(pool, shelf, order);
	spin_unlock_irqrestore(&shelf->lock, flags);
	return index;
}

static inline void ivshmem_shelf_give(struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	struct ivshmem_shelf *shelf = raw_cpu_ptr(pool->shelves);
	unsigned long flags;

	spin_lock_irqsave(&shelf->lock, flags);
	if (unlikely(shelf->count[order] >= pool->shelf_depth[order]))
		ivshmem_shelf_clear(pool, shelf, order, pool->shelf_depth[order] / 2);
	ivshmem_shelf_push(pool, shelf, index, order);
	spin_unlock_irqrestore(&shelf->lock, flags);
}

#endif
