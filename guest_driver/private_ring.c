// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings in two copies: see private_ring.h. Here is what both layouts have in common; where descriptors stand, and what
 * says that they are the other side's, is for split_copies.c and packed_copies.c to know.
 */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "ring_copies.h"
#include "window.h"

/* An answer that says "failed": all devices whose requests end with a status byte call it 1. */
#define STATUS_ERROR 1

void ivshmem_note_piece(struct ivshmem_head *head, u64 address, u32 length, bool writable)
{
	if (!writable || !length)
		return;
	head->room += length;
	head->last_length = length;
	head->last = address + length - 1;
}

/* The table that the driver made, not the copy of it in the window. Its entries never lie across two pages. */
void ivshmem_note_table(struct ivshmem_queue *queue, struct ivshmem_head *head, u64 address)
{
	struct ivshmem_block *block = ivshmem_pool_at(&queue->link->pool, address, BLOCK_MAPPED);
	u32 at;

	if (!block)
		return;
	for (at = 0; at + sizeof(struct vring_desc) <= block->size; at += sizeof(struct vring_desc)) {
		phys_addr_t original = block->original + at;
		u8 *page = kmap_local_page(pfn_to_page(PHYS_PFN(original)));
		const void *entry = page + offset_in_page(original);

		if (queue->ring.packed)
			ivshmem_packed_note_entry(head, entry);
		else
			ivshmem_split_note_entry(head, entry);
		kunmap_local(page);
	}
}

/* The chain that the driver added next, by its head or buffer id; negative: none. */
static int next_added(struct ivshmem_ring *ring)
{
	return ring->packed ? ivshmem_packed_next(ring) : ivshmem_split_next(ring);
}

/* Takes note of a chain the driver has added, the next one, and shows its descriptors to the peer if asked to. */
static void admit(struct ivshmem_queue *queue, u16 index, bool show)
{
	struct ivshmem_ring *ring = &queue->ring;

	ring->heads[index] = (struct ivshmem_head){ .state = HEAD_IN_FLIGHT };
	if (!ring->in_flight++)
		ring->progress = jiffies;
	if (ring->packed)
		ivshmem_packed_admit(queue, index, show);
	else
		ivshmem_split_admit(queue, index, show);
}

/* One used element for the driver; what makes a batch of them visible may follow when it is complete. */
static void give(struct ivshmem_ring *ring, u16 index, u32 length)
{
	if (ring->packed)
		ivshmem_packed_give(ring, index, length);
	else
		ivshmem_split_give(ring, index, length);
}

static void show_given(struct ivshmem_ring *ring)
{
	if (!ring->packed)
		ivshmem_split_show_given(ring);
}

/* Writes the answer where the driver will look for it; returns its length. */
static u32 write_answer(u8 *window, const struct ivshmem_head *head, enum ivshmem_answer how)
{
	if (!head->room)
		return 0;
	if (how == ANSWER_STATUS) {
		shared_write8(window, head->last, STATUS_ERROR);
		return 1;
	}
	if (how == ANSWER_RANDOM && head->last_length == head->room) {
		get_random_bytes(window + head->last + 1 - head->room, head->room);
		return head->room;
	}
	return 0;
}

/* The chain's driver is told something, whatever becomes of the chain at the peer. */
static void give_answer(struct ivshmem_queue *queue, u16 index, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;

	give(ring, index, write_answer(queue->link->window, &ring->heads[index], how));
	ring->answered++;
}

static bool publish_new(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;
	u16 old = ring->published, count = 0;
	int index;

	/* No more fit into the ring than it has slots, so this ends however fast the driver adds. */
	while (count < ring->size && (index = next_added(ring)) >= 0) {
		admit(queue, index, true);
		count += ring->packed ? ring->heads[index].slots : 1;
	}
	if (!count)
		return false;
	return ring->packed ? ivshmem_packed_expose(ring, old, count) : ivshmem_split_expose(ring, old);
}

/* The peer still has chains whose descriptors the driver uses again: nothing can be shown to it until it returns them. */
static void answer_new(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	u16 count = 0;
	int index;

	while (count++ < ring->size && (index = next_added(ring)) >= 0) {
		struct ivshmem_head before = ring->heads[index];

		admit(queue, index, false);
		give_answer(queue, index, how);
		ring->in_flight--;
		ring->heads[index] = before;
	}
	show_given(ring);
}

/* What the driver has added becomes the peer's to see. True: the peer is to be rung. */
bool ivshmem_ring_publish(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned long flags;
	bool wanted = false;

	if (!ring->size)
		return true;
	spin_lock_irqsave(&ring->lock, flags);
	if (ring->abandoned)
		answer_new(queue, how);
	else if (!ring->distrusted)
		wanted = publish_new(queue);
	spin_unlock_irqrestore(&ring->lock, flags);
	return wanted;
}

/* A chain that the peer says it has returned. False: it said what cannot be true. */
bool ivshmem_ring_take(struct ivshmem_ring *ring, u32 id, u32 length)
{
	struct ivshmem_head *head;

	if (id >= ring->size || ring->heads[id].state == HEAD_FREE || length < ring->least)
		return false;
	head = &ring->heads[id];
	if (head->state == HEAD_ABANDONED) {
		ring->abandoned--;
	} else {
		give(ring, id, min(length, head->room));
		ring->in_flight--;
	}
	head->state = HEAD_FREE;
	return true;
}

static const char *collect(struct ivshmem_ring *ring)
{
	return ring->packed ? ivshmem_packed_collect(ring) : ivshmem_split_collect(ring);
}

/* Checks and takes over what the peer has returned. True: there is something new for the driver. */
bool ivshmem_ring_collect(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;
	const char *broken = NULL;
	unsigned long flags;
	u16 before;
	bool news;

	if (!ring->size)
		return true;
	spin_lock_irqsave(&ring->lock, flags);
	before = ring->given;
	if (!ring->distrusted)
		broken = collect(ring);
	news = ring->given != before;
	if (news) {
		ring->progress = jiffies;
		show_given(ring);
	}
	if (broken)
		ring->distrusted = true;
	spin_unlock_irqrestore(&ring->lock, flags);
	if (broken)
		ivshmem_link_distrust(queue->link, queue->index, broken);
	return news;
}

/* Answers everything in the peer's stead; it is lost for good. Returns how much that was. */
unsigned int ivshmem_ring_answer(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned int answered = 0;
	unsigned long flags;
	u16 index, count = 0;
	int added;

	if (!ring->size)
		return 0;
	spin_lock_irqsave(&ring->lock, flags);
	ring->distrusted = true;
	while (count++ < ring->size && (added = next_added(ring)) >= 0)
		admit(queue, added, false);
	for (index = 0; index < ring->size; index++) {
		if (ring->heads[index].state != HEAD_IN_FLIGHT)
			continue;
		give_answer(queue, index, how);
		ring->heads[index].state = HEAD_FREE;
		answered++;
	}
	ring->in_flight = 0;
	ring->abandoned = 0;
	show_given(ring);
	spin_unlock_irqrestore(&ring->lock, flags);
	return answered;
}

/* What the peer has is answered in its own ring too. What the driver was told an answer for before is just returned. */
static unsigned int answer_shown(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned int answered = 0;
	u16 index;

	for (index = 0; index < ring->size; index++) {
		if (ring->heads[index].state == HEAD_FREE)
			continue;
		if (ring->heads[index].state == HEAD_IN_FLIGHT) {
			give_answer(queue, index, how);
			answered++;
		}
		ring->heads[index].state = HEAD_FREE;
		if (!ring->packed)
			ivshmem_split_return(ring, index);
	}
	if (ring->packed)
		ring->taken = ring->published;
	ring->in_flight = 0;
	ring->abandoned = 0;
	return answered;
}

static unsigned int answer_unshown(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned int answered = 0;
	int index;

	while (answered < ring->size && (index = next_added(ring)) >= 0) {
		admit(queue, index, false);
		give_answer(queue, index, how);
		ring->heads[index].state = HEAD_FREE;
		answered++;
	}
	ring->in_flight = 0;
	return answered;
}

/*
 * Answers everything, for a peer that is away and whose used ring the caller has for now: when it comes back it finds
 * that it has nothing in flight any more, of a packed ring by `position`, where both go on. Its wish for doorbells is
 * renewed first, as it would do itself. A ring that makes no sense is not answered here: it is distrusted, and false.
 */
bool ivshmem_ring_answer_as_owner(struct ivshmem_queue *queue, enum ivshmem_answer how, unsigned int *answered,
				  u16 *position)
{
	struct ivshmem_ring *ring = &queue->ring;
	const char *broken = NULL;
	unsigned long flags;
	bool sound;

	*answered = 0;
	spin_lock_irqsave(&ring->lock, flags);
	if (!ring->distrusted)
		broken = collect(ring);
	if (broken)
		ring->distrusted = true;
	sound = !ring->distrusted;
	if (sound) {
		*answered = answer_shown(queue, how);
		*answered += answer_unshown(queue, how);
		if (ring->packed)
			ivshmem_packed_hand_over(ring);
		else
			ivshmem_split_hand_over(ring);
		show_given(ring);
	}
	*position = ring->taken;
	spin_unlock_irqrestore(&ring->lock, flags);
	if (broken)
		ivshmem_link_distrust(queue->link, queue->index, broken);
	return sound;
}

/* Answers what is in flight, and goes on when the peer has returned it all the same. */
void ivshmem_ring_abandon(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned long flags;
	u16 index;

	spin_lock_irqsave(&ring->lock, flags);
	for (index = 0; index < ring->size; index++) {
		if (ring->heads[index].state != HEAD_IN_FLIGHT)
			continue;
		give_answer(queue, index, how);
		ring->heads[index].state = HEAD_ABANDONED;
		ring->in_flight--;
		ring->abandoned++;
	}
	show_given(ring);
	spin_unlock_irqrestore(&ring->lock, flags);
}

/* Nobody waits for the peer to return anything. */
bool ivshmem_ring_idle(struct ivshmem_queue *queue)
{
	return !READ_ONCE(queue->ring.in_flight);
}

bool ivshmem_ring_stuck(struct ivshmem_queue *queue, unsigned int milliseconds)
{
	struct ivshmem_ring *ring = &queue->ring;

	return ring->size && READ_ONCE(ring->in_flight) &&
	       time_after(jiffies, READ_ONCE(ring->progress) + msecs_to_jiffies(milliseconds));
}

static void note_original(struct ivshmem_queue *queue, u64 address, phys_addr_t *originals, unsigned int *count)
{
	struct ivshmem_block *block = ivshmem_pool_find(&queue->link->pool, address);

	if (block && block->kind == BLOCK_MAPPED)
		originals[(*count)++] = block->original;
}

/*
 * Where the buffers are that the core's copy stands for, or stood for last, up to two for each descriptor: what was
 * added is there in its slot, and what was admitted since may have lost it to a later one.
 */
unsigned int ivshmem_ring_originals(struct ivshmem_queue *queue, phys_addr_t *originals)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned int i, count = 0;

	for (i = 0; i < ring->size; i++) {
		note_original(queue, ring->packed ? ivshmem_packed_address(ring, i) : ivshmem_split_address(ring, i),
			      originals, &count);
		if (ring->packed)
			note_original(queue, ring->heads[i].first, originals, &count);
	}
	return count;
}

/* After the core has made or remade its ring, before the peer is told of it: both copies are empty. */
int ivshmem_ring_open(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;
	unsigned int size = virtqueue_get_vring_size(queue->vq);

	*ring = (struct ivshmem_ring){
		.packed = __virtio_test_bit(queue->vq->vdev, VIRTIO_F_RING_PACKED),
		.heads = kvcalloc(size, sizeof(*ring->heads), GFP_KERNEL),
		.event_index = queue->link->event_index,
		.one_at_a_time = queue->paced,
		.least = queue->vq->vdev->id.device == VIRTIO_ID_RNG,	/* virtio 1.4, 5.4.6.1 */
		.progress = jiffies,
	};
	spin_lock_init(&ring->lock);
	if (!ring->heads)
		return -ENOMEM;
	ring->shared_desc = queue->link->window + virtqueue_get_desc_addr(queue->vq);
	ring->shared_avail = queue->link->window + virtqueue_get_avail_addr(queue->vq);
	ring->shared_used = queue->link->window + virtqueue_get_used_addr(queue->vq);
	ring->size = size;
	if (!ring->packed)
		ivshmem_split_open(queue);
	else if (!ivshmem_packed_open(queue))
		ring->size = 0;
	return ring->size ? 0 : -EIO;
}

void ivshmem_ring_close(struct ivshmem_queue *queue)
{
	queue->ring.size = 0;
	kvfree(queue->ring.heads);
	queue->ring.heads = NULL;
}
