// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts. Every purpose of a vector is an action of its own, so vectors are shared by sharing the interrupt.
 * Handlers always say "handled": a peer that rings for nothing must not get the vector switched off.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "accounting.h"
#include "compat.h"
#include "link.h"
#include "pacing.h"
#include "queue.h"
#include "window.h"

static int irq_of(const struct ivshmem_link *link, u16 vector)
{
	unsigned int absolute = link->vectors ? link->entry.frontend_vector + vector : 0;

	return pci_irq_vector(link->function->pdev, absolute);
}

static int request(struct ivshmem_link *link, u16 vector, irq_handler_t handler, const char *name, void *data)
{
	int error = request_irq(irq_of(link, vector), handler, IRQF_SHARED, name, data);

	if (error)
		dev_err(&link->adev.dev, "no interrupt for vector %u (%d)\n", vector, error);
	else
		atomic64_inc(&ivshmem_accounting.vectors_requested);
	return error;
}

static void release(struct ivshmem_link *link, u16 vector, void *data)
{
	free_irq(irq_of(link, vector), data);
	atomic64_inc(&ivshmem_accounting.vectors_freed);
}

static bool vector_is_shared(const struct ivshmem_queue *queue)
{
	return queue->shared && ivshmem_peer_can(queue->link, CAPABILITY_EVENT_BYTES);
}

static void clear_event_byte(struct ivshmem_queue *queue)
{
	const struct ivshmem_header *header = &queue->link->peer.header;

	if (queue->index >= header->queue_count)
		return;
	shared_write8(queue->link->window, header->extension + EVENT_BYTES + queue->index, 0);
	virt_mb();
}

/* A driver is not ready for callbacks earlier, and has none to expect. */
static bool driver_is_ready(const struct ivshmem_link *link)
{
	return READ_ONCE(link->status) & VIRTIO_CONFIG_S_DRIVER_OK;
}

/*
 * Linux' console driver says that it is ready before it fills its receive queue, and until its port is listed it empties
 * that queue without the lock under which it fills it. What a device sends so early would ruin its free descriptors.
 */
static bool is_too_early(const struct ivshmem_queue *queue)
{
	const struct virtio_device *vdev = queue->vq->vdev;

	return vdev->id.device == VIRTIO_ID_CONSOLE && !DRIVER_IS_SET_UP(vdev);
}

/* Takes used buffers over for the driver. True: it got something to do. */
bool ivshmem_queue_take(struct ivshmem_queue *queue)
{
	unsigned long flags;
	bool news = false;

	spin_lock_irqsave(&queue->lock, flags);
	if (queue->live && driver_is_ready(queue->link) && !is_too_early(queue) &&
	    ivshmem_peer_is_ours(queue->link)) {
		if (vector_is_shared(queue))
			clear_event_byte(queue);
		else if (queue->shared)
			shared_write8(queue->link->window, HEADER_QUEUE_EVENT, 0);
		news = ivshmem_ring_collect(queue) && vring_interrupt(0, queue->vq) == IRQ_HANDLED;
		queue->interrupts += news;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return news;
}

/* From the interrupt, or because time has passed. False: there was nothing. */
static bool look(struct ivshmem_queue *queue)
{
	if (!queue->paced)
		return ivshmem_queue_take(queue);
	ivshmem_pace(queue->link);
	return true;
}

void ivshmem_queue_look(struct ivshmem_queue *queue)
{
	look(queue);
}

void ivshmem_queue_set_live(struct ivshmem_queue *queue, bool live)
{
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	queue->live = live;
	spin_unlock_irqrestore(&queue->lock, flags);
}

static irqreturn_t queue_interrupt(int irq, void *data)
{
	struct ivshmem_queue *queue = data;

	if (!look(queue))
		queue->idle_interrupts++;
	return IRQ_HANDLED;
}

int ivshmem_queue_request_vector(struct ivshmem_queue *queue)
{
	int error;

	if (!queue->link->function->vectors)
		return 0;
	error = request(queue->link, queue->vector, queue_interrupt, queue->name, queue);
	queue->vector_requested = !error;
	return error;
}

void ivshmem_queue_free_vector(struct ivshmem_queue *queue)
{
	if (queue->vector_requested)
		release(queue->link, queue->vector, queue);
	queue->vector_requested = false;
}

void ivshmem_link_set_event_target(struct ivshmem_link *link, struct virtio_device *vdev)
{
	unsigned long flags;

	spin_lock_irqsave(&link->event_lock, flags);
	link->event_target = vdev;
	spin_unlock_irqrestore(&link->event_lock, flags);
}

/* Tells the driver of a changed configuration, once for each event. */
void ivshmem_link_look_for_event(struct ivshmem_link *link)
{
	unsigned long flags;

	spin_lock_irqsave(&link->event_lock, flags);
	if (link->event_target && ivshmem_peer_is_ours(link) && shared_read8(link->window, HEADER_CONFIG_EVENT)) {
		shared_write8(link->window, HEADER_CONFIG_EVENT, 0);
		virt_mb();
		virtio_config_changed(link->event_target);
	}
	spin_unlock_irqrestore(&link->event_lock, flags);
}

/* The watch is woken only if it has something to see, since this vector may carry every used buffer too. */
static bool worth_a_look(const struct ivshmem_link *link)
{
	return READ_ONCE(link->phase) != PHASE_ONLINE || READ_ONCE(link->peer.presence) != PRESENCE_READY ||
	       ivshmem_peer_state(link) != READ_ONCE(link->peer.seen_state) || !ivshmem_peer_is_ours(link);
}

static irqreturn_t config_interrupt(int irq, void *data)
{
	struct ivshmem_link *link = data;

	atomic64_inc(&link->config_interrupts);
	ivshmem_link_look_for_event(link);
	if (worth_a_look(link))
		ivshmem_watch_now(link);
	return IRQ_HANDLED;
}

int ivshmem_link_request_vector(struct ivshmem_link *link)
{
	int error;

	if (!link->function->vectors)
		return 0;
	error = request(link, 0, config_interrupt, dev_name(&link->adev.dev), link);
	link->config_vector_requested = !error;
	return error;
}

void ivshmem_link_free_vector(struct ivshmem_link *link)
{
	if (link->config_vector_requested)
		release(link, 0, link);
	link->config_vector_requested = false;
}

/* What the timer does for every queue: a lost interrupt is made up for here; `kick` makes up for lost doorbells. */
void ivshmem_link_look_at_queues(struct ivshmem_link *link, bool kick)
{
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++) {
		struct ivshmem_queue *queue = &link->queues[i];

		if (!queue->vq)
			continue;
		/* Not before DRIVER_OK: virtio 1.4, 3.1.1 */
		if (kick && driver_is_ready(link))
			ivshmem_function_ring(link->function, READ_ONCE(queue->doorbell));
		local_bh_disable();
		ivshmem_queue_look(queue);
		local_bh_enable();
	}
	mutex_unlock(&link->table);
}

/* Whether requests wait on a queue on which nothing has come back for so long. */
bool ivshmem_link_is_stuck(struct ivshmem_link *link, unsigned int milliseconds, unsigned int *which)
{
	bool stuck = false;
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count && !stuck; i++) {
		struct ivshmem_queue *queue = &link->queues[i];

		stuck = queue->vq && queue->waited_for && ivshmem_ring_stuck(queue, milliseconds);
		if (stuck)
			*which = queue->index;
	}
	mutex_unlock(&link->table);
	return stuck;
}

/* After this no callback still runs that began before. */
void ivshmem_link_synchronize(struct ivshmem_link *link)
{
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++) {
		struct ivshmem_queue *queue = &link->queues[i];

		if (queue->vector_requested)
			synchronize_irq(irq_of(link, queue->vector));
		spin_lock_irq(&queue->lock);
		spin_unlock_irq(&queue->lock);
	}
	mutex_unlock(&link->table);
	if (link->config_vector_requested)
		synchronize_irq(irq_of(link, 0));
}
