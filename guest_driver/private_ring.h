/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A split ring in two copies. The virtio core works on one in memory of our own; the peer on one in the window. What
 * the driver adds is copied out when it notifies, what the peer returns is checked and copied in when it interrupts.
 * So nothing the core decides by can be changed by the peer: no descriptor's NEXT flag, no index, no id twice.
 *
 * Packed rings have no second copy: the core keeps what it needs to know of them to itself.
 */
#ifndef VIRTIO_IVSHMEM_PRIVATE_RING_H
#define VIRTIO_IVSHMEM_PRIVATE_RING_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct ivshmem_head;
struct ivshmem_queue;
struct vring_avail;
struct vring_desc;
struct vring_used;

struct ivshmem_ring {
	spinlock_t lock;		/* everything below */
	struct vring_desc *desc;	/* the core's copy */
	struct vring_avail *avail;
	struct vring_used *used;
	u8 *shared_desc;		/* the peer's copy */
	u8 *shared_avail;
	u8 *shared_used;
	struct ivshmem_head *heads;
	u16 size;			/* 0: no ring in two copies */
	u16 seen;			/* available index of the core's copy, as far as it was taken */
	u16 published;			/* available index of the peer's copy */
	u16 taken;			/* used index of the peer's copy, as far as it was taken */
	u16 given;			/* used index of the core's copy */
	u16 in_flight;			/* chains with the peer that the driver waits for */
	u16 abandoned;			/* chains with the peer that the driver was told an answer for */
	u16 least;			/* bytes that each answer must have */
	bool event_index;
	bool distrusted;		/* the peer broke a rule: nothing is taken from it any more */
	unsigned long progress;		/* jiffies: something came back, or began to be waited for */
	u64 answered;			/* chains the driver was told an answer for by us */
};

/* What we tell a driver in the peer's stead. */
enum ivshmem_answer {
	ANSWER_NOTHING,		/* nobody waits for this queue */
	ANSWER_EMPTY,		/* the device only reads: done, zero bytes written */
	ANSWER_STATUS,		/* the last byte the device writes is a status: an error */
	ANSWER_RANDOM,		/* random bytes of our own; without any, readers of virtio_rng wait for ever */
};

int ivshmem_ring_open(struct ivshmem_queue *queue);
void ivshmem_ring_close(struct ivshmem_queue *queue);
bool ivshmem_ring_publish(struct ivshmem_queue *queue, enum ivshmem_answer how);
bool ivshmem_ring_collect(struct ivshmem_queue *queue);
unsigned int ivshmem_ring_answer(struct ivshmem_queue *queue, enum ivshmem_answer how);
unsigned int ivshmem_ring_answer_as_owner(struct ivshmem_queue *queue, enum ivshmem_answer how);
void ivshmem_ring_abandon(struct ivshmem_queue *queue, enum ivshmem_answer how);
phys_addr_t ivshmem_ring_original(struct ivshmem_queue *queue, unsigned int index);
bool ivshmem_ring_idle(struct ivshmem_queue *queue);
bool ivshmem_ring_stuck(struct ivshmem_queue *queue, unsigned int milliseconds);

#endif
