/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A ring in two copies. The virtio core works on one in memory of our own; the peer on one in the window. What
 * the driver adds is copied out when it notifies, what the peer returns is checked and copied in when it interrupts.
 * So nothing the core decides by can be changed by the peer: no descriptor's NEXT flag, no index, no id twice. And
 * what is in flight is known here, so that it can be answered in the stead of a peer that is away.
 */
#ifndef VIRTIO_IVSHMEM_PRIVATE_RING_H
#define VIRTIO_IVSHMEM_PRIVATE_RING_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct ivshmem_head;
struct ivshmem_queue;
struct vring_avail;
struct vring_desc;
struct vring_packed_desc;
struct vring_used;

struct ivshmem_ring {
	spinlock_t lock;		/* everything below */
	union {				/* the core's copy */
		struct {
			struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
		} split;
		struct vring_packed_desc *packed_desc;
	};
	u8 *shared_desc;		/* the peer's copy; of a packed ring, its descriptors */
	u8 *shared_avail;		/* of a packed ring, the driver's wish for events */
	u8 *shared_used;		/* of a packed ring, the device's */
	struct ivshmem_head *heads;
	u16 size;			/* 0: no ring in two copies */
	/* Of a split ring indices, of a packed one positions: a slot with the wrap counter in bit 15. */
	u16 seen;			/* of the core's copy: available, as far as it was taken */
	u16 published;			/* of the peer's copy: available */
	u16 taken;			/* of the peer's copy: used, as far as it was taken */
	u16 given;			/* of the core's copy: used */
	u16 first_flags;		/* packed: what will show all that was published since the last exposure */
	bool unexposed;			/* packed: there is something of that kind */
	bool packed;
	u16 in_flight;			/* chains with the peer that the driver waits for */
	u16 abandoned;			/* chains with the peer that the driver was told an answer for */
	u16 least;			/* bytes that each answer must have */
	bool event_index;
	bool one_at_a_time;		/* no more than one chain is taken from the peer at once */
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
bool ivshmem_ring_answer_as_owner(struct ivshmem_queue *queue, enum ivshmem_answer how, unsigned int *answered,
				  u16 *position);
void ivshmem_ring_abandon(struct ivshmem_queue *queue, enum ivshmem_answer how);
unsigned int ivshmem_ring_originals(struct ivshmem_queue *queue, phys_addr_t *originals);
bool ivshmem_ring_idle(struct ivshmem_queue *queue);
bool ivshmem_ring_stuck(struct ivshmem_queue *queue, unsigned int milliseconds);

#endif
