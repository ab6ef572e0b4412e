// SPDX-License-Identifier: GPL-2.0-only
/* Each CPU's own stock of free blocks, the part that seldom runs: see shelf.h. */
#include <linux/cpumask.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/string.h>

#include "shelf.h"

/* Of the pool, what may lie on all shelves together, for each order. */
#define SHELVED_PART 64
/* A shelf with room for less would be filled and emptied all the time. */
#define LEAST_DEPTH 2
#define MOST_DEPTH 256

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

		pool->shelf_depth[order] = depth < LEAST_DEPTH ? 0 : min_t(u64, depth, MOST_DEPTH);
	}
	for_each_possible_cpu(cpu)
		memset(per_cpu_ptr(pool->shelves, cpu)->count, 0, sizeof_field(struct ivshmem_shelf, count));
}

/* Gives back to the pool what is more than `keep`. The shelf's lock is held. */
void ivshmem_shelf_clear(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order, unsigned int keep)
{
	spin_lock(&pool->lock);
	while (shelf->count[order] > keep)
		ivshmem_pool_merge(pool, ivshmem_shelf_pop(pool, shelf, order));
	spin_unlock(&pool->lock);
}

/* Half of what there is room for, so that neither the next taking nor the next giving back needs the pool. */
void ivshmem_shelf_fill(struct ivshmem_pool *pool, struct ivshmem_shelf *shelf, unsigned int order)
{
	unsigned int wanted = pool->shelf_depth[order] / 2;

	spin_lock(&pool->lock);
	while (shelf->count[order] < wanted) {
		u32 index = ivshmem_pool_split_off(pool, order);

		if (index == POOL_NONE)
			break;
		pool->blocks[index].order = order;
		ivshmem_shelf_push(pool, shelf, index, order);
	}
	spin_unlock(&pool->lock);
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
			ivshmem_shelf_clear(pool, shelf, order, 0);
		spin_unlock_irqrestore(&shelf->lock, flags);
	}
}
