/* SPDX-License-Identifier: GPL-2.0-only */
/* Making and deleting a link's virtqueues. */
#ifndef VIRTIO_IVSHMEM_VIRTQUEUE_H
#define VIRTIO_IVSHMEM_VIRTQUEUE_H

#include <linux/virtio.h>
#include <linux/virtio_config.h>

#include "compat.h"

int ivshmem_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[], FIND_VQS_PARAMETERS);

#endif
