// SPDX-License-Identifier: GPL-2.0-only
/* The bounce buffers as DMA operations of the child device, for kernels before virtio's own mapping operations. */
#include <linux/dma-map-ops.h>
#include <linux/scatterlist.h>

#include "bounce.h"
#include "compat.h"
#include "link.h"

#ifndef HAVE_VIRTIO_MAP_OPS

static void *op_alloc(struct device *dev, size_t size, dma_addr_t *address, gfp_t gfp, unsigned long attributes)
{
	return ivshmem_bounce_allocate(ivshmem_link_of(dev), size, address);
}

static void op_free(struct device *dev, size_t size, void *memory, dma_addr_t address, unsigned long attributes)
{
	ivshmem_bounce_free(ivshmem_link_of(dev), memory, address);
}

static dma_addr_t op_map_page(struct device *dev, struct page *page, unsigned long offset, size_t size,
			      enum dma_data_direction direction, unsigned long attributes)
{
	return ivshmem_bounce_map(ivshmem_link_of(dev), page_to_phys(page) + offset, size, direction, attributes);
}

static void op_unmap_page(struct device *dev, dma_addr_t address, size_t size, enum dma_data_direction direction,
			  unsigned long attributes)
{
	ivshmem_bounce_unmap(ivshmem_link_of(dev), address, direction, attributes);
}

static void op_unmap_sg(struct device *dev, struct scatterlist *list, int count, enum dma_data_direction direction,
			unsigned long attributes)
{
	struct scatterlist *part;
	int i;

	for_each_sg(list, part, count, i)
		op_unmap_page(dev, sg_dma_address(part), sg_dma_len(part), direction, attributes);
}

static int op_map_sg(struct device *dev, struct scatterlist *list, int count, enum dma_data_direction direction,
		     unsigned long attributes)
{
	struct scatterlist *part;
	int i;

	for_each_sg(list, part, count, i) {
		part->dma_address = op_map_page(dev, sg_page(part), part->offset, part->length, direction, attributes);
		if (part->dma_address == DMA_MAPPING_ERROR) {
			op_unmap_sg(dev, list, i, direction, attributes | DMA_ATTR_SKIP_CPU_SYNC);
			return -EIO;
		}
		sg_dma_len(part) = part->length;
	}
	return count;
}

static void op_sync_for_cpu(struct device *dev, dma_addr_t address, size_t size, enum dma_data_direction direction)
{
	ivshmem_bounce_sync(ivshmem_link_of(dev), address, size, true);
}

static void op_sync_for_device(struct device *dev, dma_addr_t address, size_t size, enum dma_data_direction direction)
{
	ivshmem_bounce_sync(ivshmem_link_of(dev), address, size, false);
}

static size_t op_max_mapping_size(struct device *dev)
{
	return ivshmem_bounce_limit(ivshmem_link_of(dev));
}

static const struct dma_map_ops link_dma_ops = {
	.alloc = op_alloc,
	.free = op_free,
	.map_page = op_map_page,
	.unmap_page = op_unmap_page,
	.map_sg = op_map_sg,
	.unmap_sg = op_unmap_sg,
	.sync_single_for_cpu = op_sync_for_cpu,
	.sync_single_for_device = op_sync_for_device,
	.max_mapping_size = op_max_mapping_size,
};

/*
 * Operations first, then the mask: since 6.12 setting the mask decides whether synchronizing may be skipped, and
 * decides it by the operations that are there.
 */
int ivshmem_mapping_attach(struct ivshmem_link *link)
{
	struct device *dev = &link->adev.dev;

	dev->dma_mask = &link->dma_mask;
	dev->dma_parms = &link->dma_parms;
	set_dma_ops(dev, &link_dma_ops);
	if (get_dma_ops(dev) != &link_dma_ops) {
		dev_err(dev, "this kernel lets no device bring its own DMA operations (CONFIG_DMA_OPS, since 6.12 "
			"CONFIG_ARCH_HAS_DMA_OPS); such a kernel needs to be 6.18 or newer\n");
		return -EOPNOTSUPP;
	}
	dma_set_max_seg_size(dev, SZ_256K);
	return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
}

void ivshmem_mapping_adopt(struct virtio_device *vdev)
{
}

#endif
