/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a back-end left unanswered when nothing of it counts any more. A driver cannot be taken away while it waits for
 * requests (a disk's removal waits for its I/O for ever, a console's write spins), so they are answered from here.
 */
#ifndef VIRTIO_IVSHMEM_SETTLE_H
#define VIRTIO_IVSHMEM_SETTLE_H

#include "private_ring.h"

struct ivshmem_link;
struct ivshmem_queue;

void ivshmem_settle(struct ivshmem_link *link);
bool ivshmem_settle_knows(const struct ivshmem_link *link);
enum ivshmem_answer ivshmem_settle_answer(const struct ivshmem_queue *queue);

#endif
