/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies between the guest's buffers and their stand-ins in the window. */
#ifndef VIRTIO_IVSHMEM_BOUNCE_H
#define VIRTIO_IVSHMEM_BOUNCE_H

#include <linux/dma-mapping.h>
#include <linux/types.h>

struct ivshmem_link;

dma_addr_t ivshmem_bounce_map(struct ivshmem_link *link, phys_addr_t original, size_t size,
			      enum dma_data_direction direction, unsigned long attributes);
void ivshmem_bounce_unmap(struct ivshmem_link *link, dma_addr_t address, enum dma_data_direction direction,
			  unsigned long attributes);
void ivshmem_bounce_sync(struct ivshmem_link *link, dma_addr_t address, size_t size, bool for_cpu);
void *ivshmem_bounce_allocate(struct ivshmem_link *link, size_t size, dma_addr_t *address);
void ivshmem_bounce_free(struct ivshmem_link *link, void *memory, dma_addr_t address);
size_t ivshmem_bounce_limit(struct ivshmem_link *link);

#endif
