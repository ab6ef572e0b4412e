/* SPDX-License-Identifier: GPL-2.0-only */
/* One ivshmem PCI function: its region, its doorbell register, the links found in its directory. */
#ifndef VIRTIO_IVSHMEM_FUNCTION_H
#define VIRTIO_IVSHMEM_FUNCTION_H

#include <linux/pci.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "protocol.h"

struct ivshmem_function {
	struct pci_dev *pdev;
	u8 __iomem *registers;
	u8 *region;
	u64 region_size;
	unsigned int vectors;		/* own MSI-X vectors; 0 = no interrupts at all */
	u32 peer_id;
	struct xarray links;		/* by directory index; an entry leaves when its link is gone */
	struct delayed_work scan;
	int directory_complaint;	/* what was last said about the directory, to say it once */
};

extern struct pci_driver ivshmem_pci_driver;

/* Two kinds of work: looking at peers never blocks; registering and removing devices may, for as long as I/O does. */
extern struct workqueue_struct *ivshmem_watch_queue;
extern struct workqueue_struct *ivshmem_life_queue;

static inline void ivshmem_function_ring(struct ivshmem_function *function, u32 doorbell)
{
	iowrite32(doorbell, function->registers + REGISTER_DOORBELL);
}

#endif
