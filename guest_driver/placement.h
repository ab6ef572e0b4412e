/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ring blocks that the back-end placed. The virtio core allocates ring memory through the DMA interface, which does
 * not say for which queue; so while one queue is being made, by one task, that task's allocations come from its block.
 */
#ifndef VIRTIO_IVSHMEM_PLACEMENT_H
#define VIRTIO_IVSHMEM_PLACEMENT_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct ivshmem_link;
struct task_struct;

struct ivshmem_placement {
	struct task_struct *task;	/* NULL: nobody is making a queue */
	u32 next;			/* window offset of what is left of the block */
	u32 end;
	u64 adopted;			/* allocations served from blocks */
	struct hlist_head private;	/* memory of our own that the core has in the place of some in the window */
	spinlock_t lock;		/* the list */
};

int ivshmem_placement_read(struct ivshmem_link *link, unsigned int queue, unsigned int size, u32 *offset, u32 *length);
void ivshmem_placement_begin(struct ivshmem_link *link, u32 offset, u32 length);
void ivshmem_placement_end(struct ivshmem_link *link);
void *ivshmem_placement_allocate(struct ivshmem_link *link, size_t size, dma_addr_t *address);
bool ivshmem_placement_is_making(const struct ivshmem_link *link);
void *ivshmem_placement_make_private(struct ivshmem_link *link, size_t size, u64 address);
void ivshmem_placement_free_private(struct ivshmem_link *link, void *memory);
void *ivshmem_placement_memory(struct ivshmem_link *link, u64 address);
bool ivshmem_placement_owns(const struct ivshmem_link *link, dma_addr_t address);

#endif
