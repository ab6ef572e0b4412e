// SPDX-License-Identifier: GPL-2.0-only
/* Virtqueues: the back-end's offer is read and checked, the core makes the rings, the back-end is told where. */
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "pacing.h"
#include "queue.h"
#include "settle.h"
#include "standin.h"
#include "transaction.h"
#include "virtqueue.h"
#include "window.h"

#define NET_RECEIVE_LEAST 32

/* What a driver asks for, the same on every kernel. */
struct wanted_queue {
	const char *name;
	vq_callback_t *callback;
	bool context;
};

/* Runs in any context. What is published for nobody waits, in its ring or in ours. */
static bool notify(struct virtqueue *vq)
{
	struct ivshmem_queue *queue = vq->priv;
	enum ivshmem_answer how = ivshmem_settle_answer(queue);
	bool detached = READ_ONCE(queue->link->detached);

	atomic64_inc(&queue->notifications);
	if (!detached && ivshmem_ring_publish(queue, how)) {
		atomic64_inc(&queue->kicks);
		ivshmem_function_ring(queue->link->function, READ_ONCE(queue->doorbell));
	}
	if (queue->paced)
		ivshmem_pace(queue->link);
	if (queue->spun_for && queue->ring.size)
		ivshmem_standin_await(queue, how);
	return true;
}

/* One vector for each queue beside that of the configuration if there are enough; else they share what there is. */
static void assign_vector(struct ivshmem_queue *queue, unsigned int nth, unsigned int wanted)
{
	unsigned int have = queue->link->vectors;

	if (have > wanted) {
		queue->vector = 1 + nth;
		queue->shared = false;
		return;
	}
	queue->vector = have > 1 ? 1 + nth % (have - 1) : 0;
	queue->shared = true;
}

static int select(struct ivshmem_queue *queue)
{
	return ivshmem_transact(queue->link, HEADER_QUEUE_SEL, sizeof(u32), queue->index);
}

/* Returns the queue's largest size, or an error. */
static int read_offer(struct ivshmem_queue *queue)
{
	struct ivshmem_link *link = queue->link;
	unsigned int size;
	int error;

	error = select(queue);
	if (error)
		return error;
	size = shared_read16(link->window, HEADER_QUEUE_SIZE);
	queue->device_vector = shared_read16(link->window, HEADER_QUEUE_DEVICE_VECTOR);
	if (!size || shared_read16(link->window, HEADER_QUEUE_ENABLE))
		return -ENOENT;
	if (size > QUEUE_SIZE_LIMIT || !is_power_of_2(size)) {
		dev_err_ratelimited(&link->adev.dev, "queue %u: the back-end offers %u entries; a power of two up to %u is needed\n",
			queue->index, size, QUEUE_SIZE_LIMIT);
		return -EPROTO;
	}
	WRITE_ONCE(queue->doorbell, ivshmem_doorbell(link, queue->device_vector));
	error = ivshmem_placement_read(link, queue->index, size, &queue->block_offset, &queue->block_length);
	return error ? error : size;
}

static int enable(struct ivshmem_queue *queue)
{
	struct ivshmem_link *link = queue->link;
	struct virtqueue *vq = queue->vq;
	int error;

	error = ivshmem_transact(link, HEADER_QUEUE_SIZE, 2, virtqueue_get_vring_size(vq));
	if (!error)
		error = ivshmem_transact(link, HEADER_QUEUE_DRIVER_VECTOR, 2, queue->vector);
	if (!error)
		error = ivshmem_transact(link, HEADER_QUEUE_DESC, 8, virtqueue_get_desc_addr(vq));
	if (!error)
		error = ivshmem_transact(link, HEADER_QUEUE_DRIVER, 8, virtqueue_get_avail_addr(vq));
	if (!error)
		error = ivshmem_transact(link, HEADER_QUEUE_DEVICE, 8, virtqueue_get_used_addr(vq));
	if (!error)
		error = ivshmem_transact(link, HEADER_QUEUE_ENABLE, 2, 1);
	if (error)
		return error;
	if (shared_read16(link->window, HEADER_QUEUE_ENABLE) != 1) {
		dev_err_ratelimited(&link->adev.dev, "queue %u: the back-end refuses the rings at %pad\n", queue->index,
			&(dma_addr_t){ virtqueue_get_desc_addr(vq) });
		return -EPROTO;
	}
	return 0;
}

static int disable(struct ivshmem_queue *queue)
{
	int error = select(queue);

	if (!error)
		error = ivshmem_transact(queue->link, HEADER_QUEUE_ENABLE, 2, 0);
	/* Virtio 1.4, 2.6.1.1.2: the buffers are the driver's again only if it is so. */
	return error ? error : shared_read16(queue->link->window, HEADER_QUEUE_ENABLE) ? -EPROTO : 0;
}

static void unmake(struct ivshmem_queue *queue)
{
	struct ivshmem_link *link = queue->link;

	if (!queue->vq)
		return;
	ivshmem_queue_set_live(queue, false);
	ivshmem_queue_free_vector(queue);
	/* A reset has switched the queue off already. */
	if (link->status) {
		mutex_lock(&link->registers);
		disable(queue);
		mutex_unlock(&link->registers);
	}
	link->done.notifications += atomic64_read(&queue->notifications);
	link->done.kicks += atomic64_read(&queue->kicks);
	link->done.interrupts += queue->interrupts;
	link->done.idle_interrupts += queue->idle_interrupts;
	ivshmem_ring_close(queue);
	vring_del_virtqueue(queue->vq);
	queue->vq = NULL;
}

/*
 * Linux' network driver wants the buffers of its receive queue to hold one packet of any size together. In a queue of
 * less than this they are larger than the pages that it takes them from, and it posts memory that is not its own.
 */
static unsigned int least_size(const struct ivshmem_queue *queue)
{
	bool receives = queue->has_callback && !(queue->index & 1);

	return queue->link->entry.device_id == VIRTIO_ID_NET && receives ? NET_RECEIVE_LEAST : 1;
}

static bool is_large_enough(const struct ivshmem_queue *queue)
{
	unsigned int size = virtqueue_get_vring_size(queue->vq);

	if (size >= least_size(queue))
		return true;
	dev_err_ratelimited(&queue->link->adev.dev, "queue %u: a ring of %u entries; to receive frames it needs %u\n",
			    queue->index, size, least_size(queue));
	return false;
}

/* The ring memory comes from the block where there is one; only otherwise may the ring get smaller than offered. */
static int make_ring(struct ivshmem_queue *queue, const struct wanted_queue *wanted, struct virtio_device *vdev,
		     unsigned int size)
{
	struct ivshmem_link *link = queue->link;
	struct virtqueue *vq;

	ivshmem_placement_begin(link, queue->block_offset, queue->block_length);
	vq = vring_create_virtqueue(queue->index, size, RING_ALIGNMENT, vdev, true, !queue->block_length,
				    wanted->context, notify, wanted->callback, wanted->name);
	ivshmem_placement_end(link);
	if (!vq) {
		dev_err_ratelimited(&link->adev.dev, "queue %u: no room in the window for %u entries\n", queue->index, size);
		return -ENOMEM;
	}
	vq->num_max = size;
	vq->priv = queue;
	queue->vq = vq;
	queue->has_callback = wanted->callback;
	queue->spun_for = !queue->has_callback ||
			  (vdev->id.device == VIRTIO_ID_CONSOLE && ivshmem_settle_answer(queue) != ANSWER_NOTHING);
	queue->paced = ivshmem_pacing_wanted(queue);
	queue->waited_for = vdev->id.device == VIRTIO_ID_BLOCK || vdev->id.device == VIRTIO_ID_RNG;
	return is_large_enough(queue) ? ivshmem_ring_open(queue) : -EPROTO;
}

static int make(struct ivshmem_queue *queue, const struct wanted_queue *wanted, struct virtio_device *vdev)
{
	struct ivshmem_link *link = queue->link;
	int size, error;

	snprintf(queue->name, sizeof(queue->name), "%s-%s", dev_name(&link->adev.dev), wanted->name);
	mutex_lock(&link->registers);
	size = read_offer(queue);
	error = size < 0 ? size : make_ring(queue, wanted, vdev, size);
	if (!error && wanted->callback)
		error = ivshmem_queue_request_vector(queue);
	if (!error) {
		ivshmem_queue_set_live(queue, wanted->callback);
		error = enable(queue);
	}
	mutex_unlock(&link->registers);
	if (error)
		unmake(queue);
	return error;
}

static void publish(struct ivshmem_link *link, struct ivshmem_queue *queues, unsigned int count)
{
	mutex_lock(&link->table);
	link->queues = queues;
	link->queue_count = count;
	mutex_unlock(&link->table);
}

static unsigned int count_callbacks(unsigned int count, FIND_VQS_PARAMETERS)
{
	unsigned int i, found = 0;

	for (i = 0; i < count; i++)
		if (FIND_VQS_NAME(i) && FIND_VQS_CALLBACK(i))
			found++;
	return found;
}

static unsigned int names_in(unsigned int count, FIND_VQS_PARAMETERS)
{
	unsigned int i, found = 0;

	for (i = 0; i < count; i++)
		found += !!FIND_VQS_NAME(i);
	return found;
}

/* Queues without a name do not count; the others are numbered in their order. */
int ivshmem_find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[], FIND_VQS_PARAMETERS)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	unsigned int callbacks_wanted = count_callbacks(count, FIND_VQS_ARGUMENTS);
	unsigned int i, made = 0, with_callback = 0;
	struct ivshmem_queue *queues;
	int error = 0;

	/* Drivers take their number of queues from the configuration space; none can have more than there are lines for. */
	if (link->peer.header.extension && names_in(count, FIND_VQS_ARGUMENTS) > link->peer.header.queue_count)
		return -ENOENT;
	queues = kvcalloc(count, sizeof(*queues), GFP_KERNEL);
	if (!queues)
		return -ENOMEM;
	for (i = 0; i < count && !error; i++) {
		struct wanted_queue wanted = { FIND_VQS_NAME(i), FIND_VQS_CALLBACK(i), FIND_VQS_CONTEXT(i) };
		struct ivshmem_queue *queue = &queues[made];

		vqs[i] = NULL;
		if (!wanted.name)
			continue;
		queue->link = link;
		queue->index = made;
		spin_lock_init(&queue->lock);
		assign_vector(queue, wanted.callback ? with_callback++ : 0, callbacks_wanted);
		error = make(queue, &wanted, vdev);
		vqs[i] = queue->vq;
		made++;
	}
	publish(link, queues, made);
	if (error) {
		ivshmem_del_vqs(vdev);
		return error;
	}
	ivshmem_link_set_event_target(link, vdev);
	return 0;
}

void ivshmem_del_vqs(struct virtio_device *vdev)
{
	struct ivshmem_link *link = ivshmem_link_of_vdev(vdev);
	struct ivshmem_queue *queues = link->queues;
	unsigned int i, count = link->queue_count;

	ivshmem_link_set_event_target(link, NULL);
	publish(link, NULL, 0);		/* from here on the watch does not look at them */
	for (i = 0; i < count; i++)
		unmake(&queues[i]);
	ivshmem_placement_end(link);
	kvfree(queues);
}

/* VIRTIO_F_RING_RESET. The ring's successor is allocated between this and the enabling: again in the queue's block. */
int ivshmem_disable_vq(struct virtqueue *vq)
{
	struct ivshmem_queue *queue = vq->priv;
	struct ivshmem_link *link = queue->link;
	int error;

	mutex_lock(&link->registers);
	error = disable(queue);
	mutex_unlock(&link->registers);
	if (error)
		return error;
	ivshmem_queue_set_live(queue, false);
#ifdef CONFIG_VIRTIO_HARDEN_NOTIFICATION
	__virtqueue_break(vq);
#endif
	vq->reset = true;
	ivshmem_placement_begin(link, queue->block_offset, queue->block_length);
	return 0;
}

int ivshmem_enable_vq(struct virtqueue *vq)
{
	struct ivshmem_queue *queue = vq->priv;
	struct ivshmem_link *link = queue->link;
	int error;

	if (!vq->reset)
		return -EBUSY;
	ivshmem_placement_end(link);
	ivshmem_ring_close(queue);
	error = ivshmem_ring_open(queue);
	if (error)
		return error;
	ivshmem_queue_set_live(queue, true);
	mutex_lock(&link->registers);
	error = select(queue);
	if (!error)
		error = enable(queue);
	mutex_unlock(&link->registers);
	if (error) {
		ivshmem_queue_set_live(queue, false);
		return error;
	}
#ifdef CONFIG_VIRTIO_HARDEN_NOTIFICATION
	__virtqueue_unbreak(vq);
#endif
	vq->reset = false;
	return 0;
}
