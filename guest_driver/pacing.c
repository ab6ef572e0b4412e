// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linux' console driver frees a port's terminal without waiting for the work item by which a new size is told to it. A
 * message with a size and one that removes the port, taken together, are a use of freed memory (stragglers.c has what
 * happens when the whole device goes). So the next message is handed over when the buffer of the last one is back, which
 * says that it was dealt with, and what it may have set off has begun.
 */
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <uapi/linux/virtio_console.h>

#include "link.h"
#include "pacing.h"
#include "queue.h"
#include "stragglers.h"

/* virtio 1.4, 5.3.2 */
#define CONTROL_RECEIVEQ 2

bool ivshmem_pacing_wanted(const struct ivshmem_queue *queue)
{
	const struct virtio_device *vdev = queue->vq->vdev;

	return vdev->id.device == VIRTIO_ID_CONSOLE && queue->index == CONTROL_RECEIVEQ &&
	       __virtio_test_bit(vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* From any context: there may be a message, or the driver has given a buffer back. */
void ivshmem_pace(struct ivshmem_link *link)
{
	queue_work(ivshmem_life_queue, &link->pacing);
}

/* Under link->table. */
static struct ivshmem_queue *paced_queue(const struct ivshmem_link *link)
{
	struct ivshmem_queue *queue;

	if (link->queue_count <= CONTROL_RECEIVEQ)
		return NULL;
	queue = &link->queues[CONTROL_RECEIVEQ];
	return queue->vq && queue->paced ? queue : NULL;
}

static bool is_back(struct ivshmem_link *link)
{
	const struct ivshmem_queue *queue;
	bool back;

	mutex_lock(&link->table);
	queue = paced_queue(link);
	back = queue && queue->handed && READ_ONCE(queue->ring.in_flight) >= queue->level;
	mutex_unlock(&link->table);
	return back;
}

static void hand_over(struct ivshmem_link *link, bool back)
{
	struct ivshmem_queue *queue;

	mutex_lock(&link->table);
	queue = paced_queue(link);
	if (queue && back)
		queue->handed = false;
	if (queue && !queue->handed) {
		queue->level = READ_ONCE(queue->ring.in_flight);
		queue->handed = ivshmem_queue_take(queue);
	}
	mutex_unlock(&link->table);
}

/* One at a time runs, so nobody else touches what it notes in the queue. */
void ivshmem_pacing(struct work_struct *work)
{
	struct ivshmem_link *link = container_of(work, struct ivshmem_link, pacing);
	bool back = is_back(link);

	if (back)
		ivshmem_stragglers_await();
	hand_over(link, back);
}
