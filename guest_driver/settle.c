// SPDX-License-Identifier: GPL-2.0-only
/*
 * Answers requests in the split rings of an ended epoch: see settle.h.
 *
 * Which descriptors head a chain in flight is the driver's private knowledge. It is recovered from what is ours: the
 * core unmaps a chain when it takes it back, so a chain is in flight if all of it is mapped still, with the very
 * lengths and directions that its descriptors give.
 */
#include <linux/slab.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "settle.h"
#include "window.h"

/* A head that the available ring no longer shows may also be one that is just being added: it must stay for so long. */
#define PASSES_UNSEEN 5

struct descriptor {
	u64 address;
	u32 length;
	u16 flags;
	u16 next;
};

struct ring {
	struct ivshmem_link *link;
	const u8 *descriptors;
	const u8 *available;
	u8 *used;
	u32 size;
};

enum answer {
	ANSWER_NOTHING,		/* removal does not wait for this queue */
	ANSWER_EMPTY,		/* the device only reads: done, zero bytes written */
	ANSWER_STATUS,		/* the last byte the device writes is a status */
};

static enum answer answer_for(const struct ivshmem_queue *queue)
{
	const struct virtio_device *vdev = queue->vq->vdev;

	switch (vdev->id.device) {
	case VIRTIO_ID_BLOCK:
		return ANSWER_STATUS;
	case VIRTIO_ID_CONSOLE:
		return queue->index & 1 ? ANSWER_EMPTY : ANSWER_NOTHING;
	case VIRTIO_ID_NET:
		if (__virtio_test_bit(vdev, VIRTIO_NET_F_CTRL_VQ) && queue->index == queue->link->queue_count - 1)
			return ANSWER_STATUS;
		return ANSWER_NOTHING;
	default:
		return ANSWER_NOTHING;
	}
}

/* The error that the status byte takes: both kinds of device that have one call it 1. */
static_assert(VIRTIO_BLK_S_IOERR == VIRTIO_NET_ERR);
#define STATUS_ERROR VIRTIO_BLK_S_IOERR

static struct descriptor read_descriptor(const u8 *table, u32 index)
{
	const u8 *at = table + 16 * index;

	return (struct descriptor){
		.address = shared_read64(at, 0),
		.length = shared_read32(at, 8),
		.flags = shared_read16(at, 12),
		.next = shared_read16(at, 14),
	};
}

/* The live mapping that a descriptor names exactly; NULL if there is none, or if its chain has its answer. */
static struct ivshmem_block *mapping_of(const struct ring *ring, const struct descriptor *descriptor)
{
	struct ivshmem_block *block = ivshmem_pool_find(&ring->link->pool, descriptor->address);

	if (!block || block->kind != BLOCK_MAPPED || block->settled || block->size != descriptor->length ||
	    ivshmem_pool_address(&ring->link->pool, block) != descriptor->address ||
	    !(descriptor->flags & VRING_DESC_F_WRITE) != (block->direction == DMA_TO_DEVICE))
		return NULL;
	return block;
}

static bool is_mapped(const struct ring *ring, const struct descriptor *descriptor)
{
	return mapping_of(ring, descriptor);
}

/*
 * Follows a chain. False: it is not in flight. `last` becomes its last descriptor that the device writes, its length 0
 * if there is none.
 */
static bool follow(const struct ring *ring, const u8 *table, u32 size, u32 index, struct descriptor *last)
{
	u32 steps;

	for (steps = 0; steps < size && index < size; steps++) {
		struct descriptor descriptor = read_descriptor(table, index);

		if (descriptor.flags & VRING_DESC_F_INDIRECT || !is_mapped(ring, &descriptor))
			return false;
		if (descriptor.flags & VRING_DESC_F_WRITE)
			*last = descriptor;
		if (!(descriptor.flags & VRING_DESC_F_NEXT))
			return true;
		index = descriptor.next;
	}
	return false;
}

static bool in_flight(const struct ring *ring, u32 head, struct descriptor *last)
{
	struct descriptor descriptor = read_descriptor(ring->descriptors, head);

	*last = (struct descriptor){};
	if (!(descriptor.flags & VRING_DESC_F_INDIRECT))
		return follow(ring, ring->descriptors, ring->size, head, last);
	if (!is_mapped(ring, &descriptor))
		return false;
	return follow(ring, ring->link->window + descriptor.address, descriptor.length / 16, 0, last);
}

/* Descriptors that need no (further) look as the head of a chain. */
#define MARK_FOLLOWER BIT(0)	/* another one leads to it */
#define MARK_SEEN BIT(1)	/* looked at in this pass */

static void mark_followers(const struct ring *ring, u8 *marks)
{
	u32 i;

	for (i = 0; i < ring->size; i++) {
		struct descriptor descriptor = read_descriptor(ring->descriptors, i);

		if (descriptor.flags & VRING_DESC_F_NEXT && !(descriptor.flags & VRING_DESC_F_INDIRECT) &&
		    descriptor.next < ring->size && is_mapped(ring, &descriptor))
			marks[descriptor.next] |= MARK_FOLLOWER;
	}
}

static u16 available_index(const struct ring *ring)
{
	u16 index = shared_read16(ring->available, 2);

	virt_rmb();
	return index;
}

static u16 available_entry(const struct ring *ring, u16 position)
{
	return shared_read16(ring->available, 4 + 2 * (position & (ring->size - 1)));
}

static void push_used(const struct ring *ring, u32 head, u32 length)
{
	u16 index = shared_read16(ring->used, 2);
	u32 at = 4 + 8 * (index & (ring->size - 1));

	shared_write32(ring->used, at, head);
	shared_write32(ring->used, at + 4, length);
	virt_wmb();
	shared_write16(ring->used, 2, index + 1);
}

/* The first mapping of a chain is enough to know it by. */
static void mark_answered(const struct ring *ring, u32 head)
{
	struct descriptor first = read_descriptor(ring->descriptors, head);
	struct ivshmem_block *block = mapping_of(ring, &first);

	if (block)
		block->settled = true;
}

static void answer(const struct ring *ring, u32 head, const struct descriptor *last, enum answer how)
{
	mark_answered(ring, head);
	if (how == ANSWER_STATUS && last->length) {
		shared_write8(ring->link->window, last->address + last->length - 1, STATUS_ERROR);
		push_used(ring, head, 1);
	} else {
		push_used(ring, head, 0);
	}
}

/*
 * The newest claim to an address is the true one: an older descriptor that names it was taken back, and its mapping
 * made again for another. So heads are tried from the newest entry of the available ring backwards.
 */
static unsigned int answer_shown(const struct ring *ring, u8 *marks, enum answer how)
{
	u16 end = available_index(ring);
	unsigned int answered = 0;
	struct descriptor last;
	u32 i;

	for (i = 1; i <= ring->size; i++) {
		u16 head = available_entry(ring, end - i);

		if (head >= ring->size || marks[head])
			continue;
		marks[head] |= MARK_SEEN;
		if (!in_flight(ring, head, &last))
			continue;
		answer(ring, head, &last, how);
		answered++;
	}
	return answered;
}

/* Chains that were added so long ago that the available ring has gone round since. */
static unsigned int answer_unseen(const struct ring *ring, u8 *marks, u8 *passes, enum answer how)
{
	unsigned int answered = 0;
	struct descriptor last;
	u32 head;

	for (head = 0; head < ring->size; head++) {
		if (marks[head] || !in_flight(ring, head, &last)) {
			passes[head] = 0;
			continue;
		}
		if (++passes[head] < PASSES_UNSEEN)
			continue;
		passes[head] = 0;
		answer(ring, head, &last, how);
		answered++;
	}
	return answered;
}

/* The caller holds queue->lock. One pass answers; the driver takes the answers, and so unmaps, before the next. */
static void settle_queue(struct ivshmem_queue *queue, enum answer how)
{
	struct ring ring = {
		.link = queue->link,
		.descriptors = queue->link->window + virtqueue_get_desc_addr(queue->vq),
		.available = queue->link->window + virtqueue_get_avail_addr(queue->vq),
		.used = queue->link->window + virtqueue_get_used_addr(queue->vq),
		.size = virtqueue_get_vring_size(queue->vq),
	};
	u8 *marks = kzalloc(ring.size, GFP_ATOMIC);

	if (!queue->settle_passes)
		queue->settle_passes = kzalloc(ring.size, GFP_ATOMIC);
	vring_interrupt(0, queue->vq);	/* what was answered in time */
	if (marks && queue->settle_passes) {
		unsigned int answered;

		mark_followers(&ring, marks);
		answered = answer_shown(&ring, marks, how);
		answered += answer_unseen(&ring, marks, queue->settle_passes, how);
		queue->link->settled += answered;
		if (answered)
			vring_interrupt(0, queue->vq);
	}
	kfree(marks);
}

/* Types whose removal ends without answers, or gets them from here. Others have their queues broken instead. */
bool ivshmem_settle_knows(const struct ivshmem_link *link)
{
	switch (link->entry.device_id) {
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_NET:
	case VIRTIO_ID_RNG:
		return !__virtio_test_bit(&link->registered->vdev, VIRTIO_F_RING_PACKED);
	default:
		return false;
	}
}

/* Done again and again until the driver is gone: it may still add requests. */
void ivshmem_settle(struct ivshmem_link *link)
{
	unsigned long flags;
	unsigned int i;

	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++) {
		struct ivshmem_queue *queue = &link->queues[i];
		enum answer how = queue->vq ? answer_for(queue) : ANSWER_NOTHING;

		if (how == ANSWER_NOTHING || __virtio_test_bit(queue->vq->vdev, VIRTIO_F_RING_PACKED))
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

void ivshmem_settle_forget(struct ivshmem_queue *queue)
{
	kfree(queue->settle_passes);
	queue->settle_passes = NULL;
}
