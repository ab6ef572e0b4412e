// SPDX-License-Identifier: GPL-2.0-only
/* The bounce buffers as virtio's own mapping operations (6.18 and newer): independent of architecture and configuration. */
#include <linux/dma-mapping.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "bounce.h"
#include "compat.h"
#include "link.h"

#ifdef HAVE_VIRTIO_MAP_OPS

static struct ivshmem_link *link_of(union virtio_map map)
{
	return ivshmem_link_of(map.dma_dev);
}

static dma_addr_t op_map_page(union virtio_map map, struct page *page, unsigned long offset, size_t size,
			      enum dma_data_direction direction, unsigned long attributes)
{
	return ivshmem_bounce_map(link_of(map), page_to_phys(page) + offset, size, direction, attributes);
}

static void op_unmap_page(union virtio_map map, dma_addr_t address, size_t size, enum dma_data_direction direction,
			  unsigned long attributes)
{
	ivshmem_bounce_unmap(link_of(map), address, direction, attributes);
}

static void op_sync_for_cpu(union virtio_map map, dma_addr_t address, size_t size, enum dma_data_direction direction)
{
	ivshmem_bounce_sync(link_of(map), address, size, true);
}

static void op_sync_for_device(union virtio_map map, dma_addr_t address, size_t size,
			       enum dma_data_direction direction)
{
	ivshmem_bounce_sync(link_of(map), address, size, false);
}

static void *op_alloc(union virtio_map map, size_t size, dma_addr_t *address, gfp_t gfp)
{
	return ivshmem_bounce_allocate(link_of(map), size, address);
}

static void op_free(union virtio_map map, size_t size, void *memory, dma_addr_t address, unsigned long attributes)
{
	ivshmem_bounce_free(link_of(map), memory, address);
}

static bool op_need_sync(union virtio_map map, dma_addr_t address)
{
	return true;
}

static int op_mapping_error(union virtio_map map, dma_addr_t address)
{
	return address == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

static size_t op_max_mapping_size(union virtio_map map)
{
	return ivshmem_bounce_limit(link_of(map));
}

static const struct virtio_map_ops link_map_ops = {
	.map_page = op_map_page,
	.unmap_page = op_unmap_page,
	.sync_single_for_cpu = op_sync_for_cpu,
	.sync_single_for_device = op_sync_for_device,
	.alloc = op_alloc,
	.free = op_free,
	.need_sync = op_need_sync,
	.mapping_error = op_mapping_error,
	.max_mapping_size = op_max_mapping_size,
};

int ivshmem_mapping_attach(struct ivshmem_link *link)
{
	struct device *dev = &link->adev.dev;

	dev->dma_mask = &link->dma_mask;
	dev->dma_parms = &link->dma_parms;
	dma_set_max_seg_size(dev, SZ_256K);
	return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
}

void ivshmem_mapping_adopt(struct virtio_device *vdev)
{
	vdev->map = &link_map_ops;
	vdev->vmap.dma_dev = vdev->dev.parent;
}

#endif
