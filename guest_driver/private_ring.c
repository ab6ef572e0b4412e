// SPDX-License-Identifier: GPL-2.0-only
/* Split rings in two copies: see private_ring.h. */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "window.h"

/* An answer that says "failed": all devices whose requests end with a status byte call it 1. */
#define STATUS_ERROR 1

enum head_state {
	HEAD_FREE,
	HEAD_IN_FLIGHT,
	HEAD_ABANDONED,
};

/* What is known of the chain that a descriptor heads, from the core's copy. */
struct ivshmem_head {
	u64 last;	/* window offset of the last byte the device may write */
	u32 room;	/* bytes it may write */
	u32 last_length;	/* of the descriptor with the last one */
	u8 state;
};

static u16 core16(__virtio16 value)
{
	return le16_to_cpu((__force __le16)value);
}

static __virtio16 to_core16(u16 value)
{
	return (__force __virtio16)cpu_to_le16(value);
}

static __virtio32 to_core32(u32 value)
{
	return (__force __virtio32)cpu_to_le32(value);
}

static u16 slot(const struct ivshmem_ring *ring, u16 index)
{
	return index & (ring->size - 1);
}

static void note_descriptor(struct ivshmem_head *head, const struct vring_desc *descriptor)
{
	u32 length = le32_to_cpu((__force __le32)descriptor->len);

	if (!(core16(descriptor->flags) & VRING_DESC_F_WRITE) || !length)
		return;
	head->room += length;
	head->last_length = length;
	head->last = le64_to_cpu((__force __le64)descriptor->addr) + length - 1;
}

/* The table that the driver made, not the copy of it in the window. Its entries never lie across two pages. */
static void note_table(struct ivshmem_link *link, struct ivshmem_head *head, const struct vring_desc *descriptor)
{
	u64 address = le64_to_cpu((__force __le64)descriptor->addr);
	struct ivshmem_block *block = ivshmem_pool_at(&link->pool, address, BLOCK_MAPPED);
	u32 at;

	if (!block)
		return;
	for (at = 0; at + sizeof(*descriptor) <= block->size; at += sizeof(*descriptor)) {
		phys_addr_t original = block->original + at;
		u8 *page = kmap_local_page(pfn_to_page(PHYS_PFN(original)));

		note_descriptor(head, (const struct vring_desc *)(page + offset_in_page(original)));
		kunmap_local(page);
	}
}

/* Takes note of a chain the driver has added, and shows its descriptors to the peer if asked to. */
static void admit(struct ivshmem_queue *queue, u16 index, bool show)
{
	struct ivshmem_ring *ring = &queue->ring;
	struct ivshmem_head *head = &ring->heads[index];
	u16 steps;

	*head = (struct ivshmem_head){ .state = HEAD_IN_FLIGHT };
	if (!ring->in_flight++)
		ring->progress = jiffies;
	for (steps = 0; steps < ring->size && index < ring->size; steps++) {
		const struct vring_desc *descriptor = &ring->desc[index];
		u16 flags = core16(descriptor->flags);

		if (show)
			memcpy(ring->shared_desc + 16 * index, descriptor, sizeof(*descriptor));
		if (flags & VRING_DESC_F_INDIRECT)
			note_table(queue->link, head, descriptor);
		else
			note_descriptor(head, descriptor);
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		index = core16(descriptor->next);
	}
}

/* One used element for the driver; the index follows when the batch is complete. */
static void give(struct ivshmem_ring *ring, u16 head, u32 length)
{
	struct vring_used_elem *element = &ring->used->ring[slot(ring, ring->given++)];

	element->id = to_core32(head);
	element->len = to_core32(length);
}

static void show_given(struct ivshmem_ring *ring)
{
	smp_store_release(&ring->used->idx, to_core16(ring->given));
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

static u16 available_index(struct ivshmem_ring *ring)
{
	return core16(smp_load_acquire(&ring->avail->idx));
}

static u16 next_available(struct ivshmem_ring *ring)
{
	return core16(ring->avail->ring[slot(ring, ring->seen++)]);
}

/* The peer wants to know of one of the chains in [old, new). */
static bool peer_wants_doorbell(const struct ivshmem_ring *ring, u16 old, u16 new)
{
	if (ring->event_index)
		return vring_need_event(shared_read16(ring->shared_used, 4 + 8 * ring->size), new, old);
	return !(shared_read16(ring->shared_used, 0) & VRING_USED_F_NO_NOTIFY);
}

static bool publish_new(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;
	u16 old = ring->published, end = available_index(ring);

	while (ring->seen != end) {
		u16 head = next_available(ring);

		admit(queue, head, true);
		shared_write16(ring->shared_avail, 4 + 2 * slot(ring, ring->published++), head);
	}
	if (ring->published == old)
		return false;
	virt_wmb();
	shared_write16(ring->shared_avail, 2, ring->published);
	virt_mb();	/* before what the peer wants is read */
	return peer_wants_doorbell(ring, old, ring->published);
}

/* The peer still has chains whose descriptors the driver uses again: nothing can be shown to it until it returns them. */
static void answer_new(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	u16 end = available_index(ring);

	while (ring->seen != end) {
		u16 index = next_available(ring);
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

/* False: the peer said what cannot be true. */
static bool take(struct ivshmem_ring *ring, u32 id, u32 length)
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

/* Takes over what stands in the peer's used ring up to `end`. */
static bool take_until(struct ivshmem_ring *ring, u16 end)
{
	while (ring->taken != end) {
		u32 at = 4 + 8 * slot(ring, ring->taken);

		if (!take(ring, shared_read32(ring->shared_used, at), shared_read32(ring->shared_used, at + 4)))
			return false;
		ring->taken++;
	}
	return true;
}

/* Every batch is wanted at once: the core's own wish for interrupts stays in its copy. */
static u16 ask_for_interrupt(struct ivshmem_ring *ring)
{
	if (ring->event_index)
		shared_write16(ring->shared_avail, 4 + 2 * ring->size, ring->taken);
	virt_mb();
	return shared_read16(ring->shared_used, 2);
}

static const char *collect(struct ivshmem_ring *ring)
{
	u16 end = shared_read16(ring->shared_used, 2);

	while (end != ring->taken) {
		virt_rmb();
		/* No more can come back than is there, so this ends however fast the index moves. */
		if ((u16)(end - ring->taken) > ring->in_flight + ring->abandoned)
			return "its used index moved by more than is in flight";
		if (!take_until(ring, end))
			return "it returned what it does not have";
		end = ask_for_interrupt(ring);
	}
	return NULL;
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
	u16 index, end;

	if (!ring->size)
		return 0;
	spin_lock_irqsave(&ring->lock, flags);
	ring->distrusted = true;
	end = available_index(ring);
	while (ring->seen != end)
		admit(queue, next_available(ring), false);
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
		u32 at = 4 + 8 * slot(ring, ring->taken);

		if (ring->heads[index].state == HEAD_FREE)
			continue;
		if (ring->heads[index].state == HEAD_IN_FLIGHT) {
			give_answer(queue, index, how);
			answered++;
		}
		ring->heads[index].state = HEAD_FREE;
		shared_write32(ring->shared_used, at, index);
		shared_write32(ring->shared_used, at + 4, 0);
		ring->taken++;
	}
	ring->in_flight = 0;
	ring->abandoned = 0;
	return answered;
}

static unsigned int answer_unshown(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	u16 end = available_index(ring);
	unsigned int answered = 0;

	while (ring->seen != end) {
		u16 index = next_available(ring);

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
 * that it has nothing in flight any more. Its wish for doorbells is renewed first, as it would do itself. A ring that
 * makes no sense is not answered here: it is distrusted.
 */
unsigned int ivshmem_ring_answer_as_owner(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_ring *ring = &queue->ring;
	const char *broken = NULL;
	unsigned int answered = 0;
	unsigned long flags;

	spin_lock_irqsave(&ring->lock, flags);
	if (!ring->distrusted)
		broken = collect(ring);
	if (broken)
		ring->distrusted = true;
	if (!ring->distrusted) {
		answered = answer_shown(queue, how);
		answered += answer_unshown(queue, how);
		if (ring->event_index)
			shared_write16(ring->shared_used, 4 + 8 * ring->size, ring->published);
		virt_wmb();
		shared_write16(ring->shared_used, 2, ring->taken);
		show_given(ring);
	}
	spin_unlock_irqrestore(&ring->lock, flags);
	if (broken)
		ivshmem_link_distrust(queue->link, queue->index, broken);
	return answered;
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

/* Where the buffer is that a descriptor of the core's copy stands for, or stood for last; 0: nowhere. */
phys_addr_t ivshmem_ring_original(struct ivshmem_queue *queue, unsigned int index)
{
	u64 address = le64_to_cpu((__force __le64)queue->ring.desc[index].addr);
	struct ivshmem_block *block = ivshmem_pool_find(&queue->link->pool, address);

	return block && block->kind == BLOCK_MAPPED ? block->original : 0;
}

/* After the core has made or remade its ring, before the peer is told of it: both copies are empty. */
int ivshmem_ring_open(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;
	struct ivshmem_link *link = queue->link;
	const struct vring *core;
	unsigned int size;

	spin_lock_init(&ring->lock);
	if (__virtio_test_bit(queue->vq->vdev, VIRTIO_F_RING_PACKED))
		return 0;
	core = virtqueue_get_vring(queue->vq);
	size = virtqueue_get_vring_size(queue->vq);
	*ring = (struct ivshmem_ring){
		.desc = core->desc,
		.avail = core->avail,
		.used = core->used,
		.shared_desc = link->window + virtqueue_get_desc_addr(queue->vq),
		.shared_avail = link->window + virtqueue_get_avail_addr(queue->vq),
		.shared_used = link->window + virtqueue_get_used_addr(queue->vq),
		.heads = kvcalloc(size, sizeof(*ring->heads), GFP_KERNEL),
		.event_index = link->event_index,
		.least = queue->vq->vdev->id.device == VIRTIO_ID_RNG,	/* virtio 1.4, 5.4.6.1 */
		.progress = jiffies,
	};
	spin_lock_init(&ring->lock);
	if (!ring->heads)
		return -ENOMEM;
	ring->size = size;
	memset(ring->shared_desc, 0, vring_size(size, RING_ALIGNMENT));
	return 0;
}

void ivshmem_ring_close(struct ivshmem_queue *queue)
{
	queue->ring.size = 0;
	kvfree(queue->ring.heads);
	queue->ring.heads = NULL;
}
