// SPDX-License-Identifier: GPL-2.0-only
/* Each CPU's own stock of free blocks: see shelf.h. */
#include <linux/cpumask.h>
#include <linux/minmax.h>
#include <linux/percpu.h>

#include "shelf.h"

/* Of the pool, what may lie on all shelves together, for each order. */
#define SHELVED_PART 64
/* A shelf with room for less would be filled and emptied all the time. */
#define LEAST_DEPTH 2

int ivshmem_shelves_init(struct ivshmem_pool *pool)
{
	int cpu;

	pool->shelves = alloc_percpu(struct ivshmem_shelf);
	if (!pool->shelves)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		spin_lock_init(&per_cpu_ptr(pool->shelves, cpu)->lock);
	return 0;
}

void ivshmem_shelves_destroy(struct ivshmem_pool *pool)
{
	free_percpu(pool->shelves);
}

/* All empty. */
void ivshmem_shelves_open(struct ivshmem_pool *pool)
{
	u64 room = div_u64(pool->capacity / SHELVED_PART, num_possible_cpus());
	unsigned int order;
	int cpu;

	for (order = 0; order < SHELF_ORDERS; order++) {
		u64 depth = room >> (order + pool->granule_shift);

		pool->shelf_depth[order] = depth < LEAST_DEPTH ? 0 : min_t(u64, depth, SHELF_DEPTH);
	}
	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(pool->shelves, cpu)->count, 0, SHELF_ORDERS);
}

static void put_back(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order, unsigned int keep)
{
	spin_lock(&pool->lock);
	while (shelf->count[order] > keep)
		ivshmem_pool_merge(pool, shelf->stock[order][--shelf->count[order]]);
	spin_unlock(&pool->lock);
}

/* Half of what there is room for, so that neither the next taking nor the next giving back needs the pool. */
static void stock_up(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order)
{
	unsigned int wanted = pool->shelf_depth[order] / 2;

	spin_lock(&pool->lock);
	while (shelf->count[order] < wanted) {
		u32 index = ivshmem_pool_split_off(pool, order);

		if (index == POOL_NONE)
			break;
		pool->blocks[index].order = order;
		WRITE_ONCE(pool->blocks[index].kind, BLOCK_SHELVED);
		shelf->stock[order][shelf->count[order]++] = index;
	}
	spin_unlock(&pool->lock);
}

/* POOL_NONE: neither on this CPU's shelf nor in the pool. Whichever shelf it is, its lock is held. */
u32 ivshmem_shelf_take(struct ivshmem_pool *pool, unsigned int order)
{
	struct ivshmem_shelf *shelf = raw_cpu_ptr(pool->shelves);
	u32 index = POOL_NONE;
	unsigned long flags;

	spin_lock_irqsave(&shelf->lock, flags);
	if (!shelf->count[order])
		stock_up(pool, shelf, order);
	if (shelf->count[order])
		index = shelf->stock[order][--shelf->count[order]];
	spin_unlock_irqrestore(&shelf->lock, flags);
	return index;
}

void ivshmem_shelf_give(struct ivshmem_pool *pool, u32 index, unsigned int order)
{
	struct ivshmem_shelf *shelf = raw_cpu_ptr(pool->shelves);
	unsigned long flags;

	spin_lock_irqsave(&shelf->lock, flags);
	if (shelf->count[order] == pool->shelf_depth[order])
		put_back(pool, shelf, order, pool->shelf_depth[order] / 2);
	WRITE_ONCE(pool->blocks[index].kind, BLOCK_SHELVED);
	shelf->stock[order][shelf->count[order]++] = index;
	spin_unlock_irqrestore(&shelf->lock, flags);
}

/* There is no room left but perhaps here. */
void ivshmem_shelves_empty(struct ivshmem_pool *pool)
{
	unsigned int order;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct ivshmem_shelf *shelf = per_cpu_ptr(pool->shelves, cpu);
		unsigned long flags;

		spin_lock_irqsave(&shelf->lock, flags);
		for (order = 0; order < SHELF_ORDERS; order++)
			put_back(pool, shelf, order, 0);
		spin_unlock_irqrestore(&shelf->lock, flags);
	}
}
