/* SPDX-License-Identifier: GPL-2.0-only */
/* Work that a driver has begun and does not wait for when its device goes. */
#ifndef VIRTIO_IVSHMEM_STRAGGLERS_H
#define VIRTIO_IVSHMEM_STRAGGLERS_H

void ivshmem_stragglers_await(void);

#endif
