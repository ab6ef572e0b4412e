/* SPDX-License-Identifier: GPL-2.0-only */
/* A console's control messages reach its driver one at a time. */
#ifndef VIRTIO_IVSHMEM_PACING_H
#define VIRTIO_IVSHMEM_PACING_H

#include <linux/types.h>

struct ivshmem_link;
struct ivshmem_queue;
struct work_struct;

bool ivshmem_pacing_wanted(const struct ivshmem_queue *queue);
void ivshmem_pace(struct ivshmem_link *link);
void ivshmem_pacing(struct work_struct *work);

#endif
