/* SPDX-License-Identifier: GPL-2.0-only */
/* One virtqueue of a link. */
#ifndef VIRTIO_IVSHMEM_QUEUE_H
#define VIRTIO_IVSHMEM_QUEUE_H

#include <linux/interrupt.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>

#include "private_ring.h"

struct ivshmem_link;

#define QUEUE_NAME_BYTES 40

struct ivshmem_queue {
	struct ivshmem_link *link;
	unsigned int index;
	struct virtqueue *vq;		/* the core's; NULL before it is made */
	spinlock_t lock;		/* interrupt and timed look exclude each other; live */
	bool live;			/* used buffers may be looked for */
	bool shared;			/* its vector serves other purposes too */
	bool vector_requested;
	u16 vector;			/* own, link-relative, for used buffers */
	u16 device_vector;		/* of the back-end, link-relative, for available buffers */
	u32 doorbell;			/* ready-made value of the doorbell register */
	u32 block_offset;		/* where the back-end placed the rings */
	u32 block_length;		/* 0: nowhere */
	atomic64_t notifications;	/* by the driver */
	atomic64_t kicks;		/* doorbells rung: the peer wanted to know */
	u64 interrupts;			/* and timed looks, that brought the driver something */
	u64 idle_interrupts;		/* that brought nothing */
	struct ivshmem_ring ring;
	bool has_callback;
	bool waited_for;		/* tasks wait for answers that nothing but an answer ends */
	bool paced;			/* returned to the driver one at a time: pacing.c */
	bool handed;			/* one is with the driver */
	u16 level;			/* as many were with the peer before */
	bool spun_for;			/* the driver waits for answers without letting go of its CPU */
	char name[QUEUE_NAME_BYTES];
};

/* interrupt.c */
int ivshmem_queue_request_vector(struct ivshmem_queue *queue);
void ivshmem_queue_free_vector(struct ivshmem_queue *queue);
void ivshmem_queue_look(struct ivshmem_queue *queue);
bool ivshmem_queue_take(struct ivshmem_queue *queue);
void ivshmem_queue_set_live(struct ivshmem_queue *queue, bool live);
int ivshmem_link_request_vector(struct ivshmem_link *link);
void ivshmem_link_free_vector(struct ivshmem_link *link);
void ivshmem_link_look_for_event(struct ivshmem_link *link);
void ivshmem_link_set_event_target(struct ivshmem_link *link, struct virtio_device *vdev);
void ivshmem_link_look_at_queues(struct ivshmem_link *link, bool kick);
bool ivshmem_link_is_stuck(struct ivshmem_link *link, unsigned int milliseconds, unsigned int *which);
void ivshmem_link_synchronize(struct ivshmem_link *link);

/* virtqueue.c */
void ivshmem_del_vqs(struct virtio_device *vdev);
int ivshmem_disable_vq(struct virtqueue *vq);
int ivshmem_enable_vq(struct virtqueue *vq);

#endif
