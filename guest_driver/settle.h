/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a back-end left unanswered when its epoch ended. A driver cannot be taken away while it waits for requests (a
 * disk's removal waits for its I/O for ever, a console's write spins), so the rings, which are ours alone by then,
 * are answered with errors from here.
 */
#ifndef VIRTIO_IVSHMEM_SETTLE_H
#define VIRTIO_IVSHMEM_SETTLE_H

struct ivshmem_link;
struct ivshmem_queue;

void ivshmem_settle(struct ivshmem_link *link);
bool ivshmem_settle_knows(const struct ivshmem_link *link);
void ivshmem_settle_forget(struct ivshmem_queue *queue);

#endif
