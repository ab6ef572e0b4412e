// SPDX-License-Identifier: GPL-2.0-only
/* The two copies of a split ring. */
#include <linux/virtio.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "ring_copies.h"
#include "window.h"

static u16 slot(const struct ivshmem_ring *ring, u16 index)
{
	return index & (ring->size - 1);
}

void ivshmem_split_open(struct ivshmem_queue *queue)
{
	const struct vring *core = virtqueue_get_vring(queue->vq);
	struct ivshmem_ring *ring = &queue->ring;

	ring->split.desc = core->desc;
	ring->split.avail = core->avail;
	ring->split.used = core->used;
	memset(ring->shared_desc, 0, vring_size(ring->size, RING_ALIGNMENT));
}

static u16 available_index(struct ivshmem_ring *ring)
{
	return core16(smp_load_acquire(&ring->split.avail->idx));
}

/* The next chain is not taken before it is admitted. */
int ivshmem_split_next(struct ivshmem_ring *ring)
{
	if (ring->seen == available_index(ring))
		return -ENOENT;
	return slot(ring, core16(ring->split.avail->ring[slot(ring, ring->seen)]));
}

void ivshmem_split_note_entry(struct ivshmem_head *head, const void *entry)
{
	const struct vring_desc *descriptor = entry;

	ivshmem_note_piece(head, le64_to_cpu((__force __le64)descriptor->addr),
			   le32_to_cpu((__force __le32)descriptor->len),
			   core16(descriptor->flags) & VRING_DESC_F_WRITE);
}

void ivshmem_split_admit(struct ivshmem_queue *queue, u16 index, bool show)
{
	struct ivshmem_ring *ring = &queue->ring;
	struct ivshmem_head *head = &ring->heads[index];
	u16 steps;

	ring->seen++;
	if (show)
		shared_write16(ring->shared_avail, 4 + 2 * slot(ring, ring->published++), index);
	for (steps = 0; steps < ring->size && index < ring->size; steps++) {
		const struct vring_desc *descriptor = &ring->split.desc[index];
		u16 flags = core16(descriptor->flags);

		if (show)
			memcpy(ring->shared_desc + 16 * index, descriptor, sizeof(*descriptor));
		if (flags & VRING_DESC_F_INDIRECT)
			ivshmem_note_table(queue, head, le64_to_cpu((__force __le64)descriptor->addr));
		else
			ivshmem_split_note_entry(head, descriptor);
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		index = core16(descriptor->next);
	}
}

/* The peer wants to know of one of the chains in [old, new). */
static bool peer_wants_doorbell(const struct ivshmem_ring *ring, u16 old, u16 new)
{
	if (ring->event_index)
		return vring_need_event(shared_read16(ring->shared_used, 4 + 8 * ring->size), new, old);
	return !(shared_read16(ring->shared_used, 0) & VRING_USED_F_NO_NOTIFY);
}

/* Makes the chains since `old` visible. True: the peer is to be rung. */
bool ivshmem_split_expose(struct ivshmem_ring *ring, u16 old)
{
	virt_wmb();
	shared_write16(ring->shared_avail, 2, ring->published);
	virt_mb();	/* before what the peer wants is read */
	return peer_wants_doorbell(ring, old, ring->published);
}

void ivshmem_split_give(struct ivshmem_ring *ring, u16 index, u32 length)
{
	struct vring_used_elem *element = &ring->split.used->ring[slot(ring, ring->given++)];

	element->id = to_core32(index);
	element->len = to_core32(length);
}

void ivshmem_split_show_given(struct ivshmem_ring *ring)
{
	smp_store_release(&ring->split.used->idx, to_core16(ring->given));
}

/* Takes over what stands in the peer's used ring up to `end`. */
static bool take_until(struct ivshmem_ring *ring, u16 end)
{
	while (ring->taken != end) {
		u32 at = 4 + 8 * slot(ring, ring->taken);

		if (!ivshmem_ring_take(ring, shared_read32(ring->shared_used, at),
				       shared_read32(ring->shared_used, at + 4)))
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

/* NULL: everything the peer has returned was taken over; else what is wrong with it. */
const char *ivshmem_split_collect(struct ivshmem_ring *ring)
{
	u16 end = shared_read16(ring->shared_used, 2);

	while (end != ring->taken) {
		virt_rmb();
		/* No more can come back than is there, so this ends however fast the index moves. */
		if ((u16)(end - ring->taken) > ring->in_flight + ring->abandoned)
			return "its used index moved by more than is in flight";
		if (!take_until(ring, ring->one_at_a_time ? ring->taken + 1 : end))
			return "it returned what it does not have";
		end = ask_for_interrupt(ring);
		if (ring->one_at_a_time)
			break;
	}
	return NULL;
}

/* A chain is returned to the driver's side in the peer's own ring, in the peer's stead. */
void ivshmem_split_return(struct ivshmem_ring *ring, u16 index)
{
	u32 at = 4 + 8 * slot(ring, ring->taken++);

	shared_write32(ring->shared_used, at, index);
	shared_write32(ring->shared_used, at + 4, 0);
}

/* The next chain is to be rung for, then all that was returned becomes visible: the peer finds it when it is back. */
void ivshmem_split_hand_over(struct ivshmem_ring *ring)
{
	if (ring->event_index)
		shared_write16(ring->shared_used, 4 + 8 * ring->size, ring->published);
	virt_wmb();
	shared_write16(ring->shared_used, 2, ring->taken);
}

u64 ivshmem_split_address(const struct ivshmem_ring *ring, unsigned int index)
{
	return le64_to_cpu((__force __le64)ring->split.desc[index].addr);
}
