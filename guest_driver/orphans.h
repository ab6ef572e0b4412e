/* SPDX-License-Identifier: GPL-2.0-only */
/* Console output that its writer has left in the ring. */
#ifndef VIRTIO_IVSHMEM_ORPHANS_H
#define VIRTIO_IVSHMEM_ORPHANS_H

struct ivshmem_link;

void ivshmem_orphans_remove(struct ivshmem_link *link);

#endif
