/* SPDX-License-Identifier: GPL-2.0-only */
/* /sys/kernel/debug/virtio_ivshmem: "accounting" of the module, "state" of each link; lines of key and value. */
#ifndef VIRTIO_IVSHMEM_DEBUGFS_H
#define VIRTIO_IVSHMEM_DEBUGFS_H

struct ivshmem_link;

void ivshmem_debugfs_open(void);
void ivshmem_debugfs_close(void);
void ivshmem_debugfs_add_link(struct ivshmem_link *link);
void ivshmem_debugfs_remove_link(struct ivshmem_link *link);

#endif
