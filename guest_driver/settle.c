// SPDX-License-Identifier: GPL-2.0-only
/* Which requests are answered in the back-end's stead, and how: see settle.h. */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "settle.h"

enum ivshmem_answer ivshmem_settle_answer(const struct ivshmem_queue *queue)
{
	const struct virtio_device *vdev = queue->vq->vdev;

	switch (vdev->id.device) {
	case VIRTIO_ID_BLOCK:
		return ANSWER_STATUS;
	case VIRTIO_ID_RNG:
		return ANSWER_RANDOM;
	case VIRTIO_ID_CONSOLE:
		return queue->index & 1 ? ANSWER_EMPTY : ANSWER_NOTHING;
	case VIRTIO_ID_NET:
		/* Of its queues, only that for control messages has no callback. */
		return queue->has_callback ? ANSWER_NOTHING : ANSWER_STATUS;
	default:
		return ANSWER_NOTHING;
	}
}

/* Types whose removal ends without answers, or gets them from here. Others have their queues broken instead. */
bool ivshmem_settle_knows(const struct ivshmem_link *link)
{
	switch (link->entry.device_id) {
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_NET:
	case VIRTIO_ID_RNG:
		return true;
	default:
		return false;
	}
}

static void settle_queue(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	unsigned int answered = ivshmem_ring_answer(queue, how);

	queue->link->settled += answered;
	if (answered)
		vring_interrupt(0, queue->vq);
}

/* Done again and again until the driver is gone: it may still add requests. */
void ivshmem_settle(struct ivshmem_link *link)
{
	unsigned long flags;
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++) {
		struct ivshmem_queue *queue = &link->queues[i];
		enum ivshmem_answer how = queue->vq ? ivshmem_settle_answer(queue) : ANSWER_NOTHING;

		if (how == ANSWER_NOTHING)
			continue;
		local_bh_disable();
		spin_lock_irqsave(&queue->lock, flags);
		if (queue->live && link->status & VIRTIO_CONFIG_S_DRIVER_OK)
			settle_queue(queue, how);
		spin_unlock_irqrestore(&queue->lock, flags);
		local_bh_enable();
	}
	mutex_unlock(&link->table);
}
