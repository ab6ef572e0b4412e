/* SPDX-License-Identifier: GPL-2.0-only */
/* Free blocks at hand for one CPU. A shelf's lock comes before the pool's; nobody holds two shelves. */
#ifndef VIRTIO_IVSHMEM_SHELF_H
#define VIRTIO_IVSHMEM_SHELF_H

#include <linux/spinlock.h>
#include <linux/types.h>

#include "pool.h"

#define SHELF_DEPTH 32

struct ivshmem_shelf {
	spinlock_t lock;		/* another CPU may need what lies here */
	u8 count[SHELF_ORDERS];
	u32 stock[SHELF_ORDERS][SHELF_DEPTH];
};

int ivshmem_shelves_init(struct ivshmem_pool *pool);
void ivshmem_shelves_destroy(struct ivshmem_pool *pool);
void ivshmem_shelves_open(struct ivshmem_pool *pool);
void ivshmem_shelves_empty(struct ivshmem_pool *pool);
u32 ivshmem_shelf_take(struct ivshmem_pool *pool, unsigned int order);
void ivshmem_shelf_give(struct ivshmem_pool *pool, u32 index, unsigned int order);

static inline bool ivshmem_shelf_keeps(const struct ivshmem_pool *pool, unsigned int order)
{
	return order < SHELF_ORDERS && pool->shelf_depth[order];
}

#endif
