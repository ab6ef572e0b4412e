/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stand-in of a back-end that is away (docs/protocol.md, section 7): it answers, in the ring itself, what would
 * keep this machine from going on, and tells the back-end by the owner word that it did.
 */
#ifndef VIRTIO_IVSHMEM_STANDIN_H
#define VIRTIO_IVSHMEM_STANDIN_H

#include <linux/types.h>

#include "private_ring.h"

struct ivshmem_link;
struct ivshmem_queue;
struct attribute_group;

/* A back-end found away while nothing but the spinning driver ran: believed until its words change. */
struct ivshmem_away {
	bool known;
	u32 state;
	u32 heartbeat;
};

void ivshmem_standin_await(struct ivshmem_queue *queue, enum ivshmem_answer how);
void ivshmem_standin_look(struct ivshmem_link *link);
void ivshmem_standin_forget(struct ivshmem_link *link);
bool ivshmem_standin_is_busy(const struct ivshmem_link *link);

extern const struct attribute_group *ivshmem_standin_groups[];

#endif
