// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two copies of a packed ring. A position is a slot with the wrap counter in bit 15. Both copies have the same
 * slots, but what is at one position of the core's may be at another of the shared one, since chains that are answered
 * without the peer never get there.
 */
#include <linux/virtio.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "placement.h"
#include "queue.h"
#include "ring_copies.h"
#include "window.h"

#define WRAP BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define AVAILABLE BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED BIT(VRING_PACKED_DESC_F_USED)
#define SLOT_BYTES sizeof(struct vring_packed_desc)
#define SLOT_LENGTH offsetof(struct vring_packed_desc, len)
#define SLOT_ID offsetof(struct vring_packed_desc, id)
#define SLOT_FLAGS offsetof(struct vring_packed_desc, flags)

static u16 slot(u16 position)
{
	return position & (WRAP - 1);
}

/* The position `count` slots on, which are no more than the ring has. */
static u16 step(const struct ivshmem_ring *ring, u16 position, u16 count)
{
	u32 at = slot(position) + count;

	if (at < ring->size)
		return position + count;
	return ((position & WRAP) ^ WRAP) | (at - ring->size);
}

/* AVAIL is the wrap counter, USED is not (virtio 1.4, 2.8.1). */
static u16 available_flags(u16 position)
{
	return position & WRAP ? AVAILABLE : USED;
}

/* Both are the wrap counter. */
static u16 used_flags(u16 position)
{
	return position & WRAP ? AVAILABLE | USED : 0;
}

static struct vring_packed_desc *core_slot(const struct ivshmem_ring *ring, u16 position)
{
	return &ring->packed_desc[slot(position)];
}

static u8 *shared_slot(const struct ivshmem_ring *ring, u16 position)
{
	return ring->shared_desc + SLOT_BYTES * slot(position);
}

/* An event suppression structure: tell of the descriptor at that position, or of every one (virtio 1.4, 2.8.14). */
static void ask_for_event(const struct ivshmem_ring *ring, u8 *shared, u16 position)
{
	shared_write32(shared, 0, ring->event_index ? position | VRING_PACKED_EVENT_FLAG_DESC << 16
						    : VRING_PACKED_EVENT_FLAG_ENABLE << 16);
}

/* False: the core's memory is not what we gave it. */
bool ivshmem_packed_open(struct ivshmem_queue *queue)
{
	struct ivshmem_ring *ring = &queue->ring;

	ring->packed_desc = ivshmem_placement_memory(queue->link, virtqueue_get_desc_addr(queue->vq));
	if (!ring->packed_desc)
		return false;
	ring->seen = ring->published = ring->taken = ring->given = WRAP;
	memset(ring->shared_desc, 0, SLOT_BYTES * ring->size);
	ask_for_event(ring, ring->shared_avail, ring->taken);
	shared_write32(ring->shared_used, 0, 0);
	return true;
}

/* The next chain is not taken before it is admitted. */
int ivshmem_packed_next(struct ivshmem_ring *ring)
{
	const struct vring_packed_desc *descriptor = core_slot(ring, ring->seen);
	u16 flags = le16_to_cpu(smp_load_acquire(&descriptor->flags));
	u16 id;

	if ((flags & (AVAILABLE | USED)) != available_flags(ring->seen))
		return -ENOENT;
	id = le16_to_cpu(descriptor->id);
	return id < ring->size ? id : -ENOENT;
}

static void note(struct ivshmem_head *head, const struct vring_packed_desc *descriptor)
{
	ivshmem_note_piece(head, le64_to_cpu(descriptor->addr), le32_to_cpu(descriptor->len),
			   le16_to_cpu(descriptor->flags) & VRING_DESC_F_WRITE);
}

void ivshmem_packed_note_entry(struct ivshmem_head *head, const void *entry)
{
	note(head, entry);
}

/* The first one shown since the last exposure keeps its old flags: the peer looks no further than it. */
static void show_descriptor(struct ivshmem_ring *ring, const struct vring_packed_desc *descriptor, u16 flags)
{
	u8 *to = shared_slot(ring, ring->published);

	shared_write64(to, 0, le64_to_cpu(descriptor->addr));
	shared_write32(to, SLOT_LENGTH, le32_to_cpu(descriptor->len));
	shared_write16(to, SLOT_ID, le16_to_cpu(descriptor->id));
	flags &= VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT;
	flags |= available_flags(ring->published);
	if (ring->unexposed)
		shared_write16(to, SLOT_FLAGS, flags);
	else
		ring->first_flags = flags;
	ring->unexposed = true;
	ring->published = step(ring, ring->published, 1);
}

void ivshmem_packed_admit(struct ivshmem_queue *queue, u16 index, bool show)
{
	struct ivshmem_ring *ring = &queue->ring;
	struct ivshmem_head *head = &ring->heads[index];
	u16 flags;

	head->first = le64_to_cpu(core_slot(ring, ring->seen)->addr);
	do {
		const struct vring_packed_desc *descriptor = core_slot(ring, ring->seen);

		flags = le16_to_cpu(descriptor->flags);
		if (flags & VRING_DESC_F_INDIRECT)
			ivshmem_note_table(queue, head, le64_to_cpu(descriptor->addr));
		else
			note(head, descriptor);
		if (show)
			show_descriptor(ring, descriptor, flags);
		ring->seen = step(ring, ring->seen, 1);
		head->slots++;
	} while (flags & VRING_DESC_F_NEXT && head->slots < ring->size);
}

/* The peer wants to know of one of the last `count` descriptors. */
static bool peer_wants_doorbell(const struct ivshmem_ring *ring, u16 count)
{
	u32 event = shared_read32(ring->shared_used, 0);
	u16 wanted = slot(event), flags = event >> 16 & 3;

	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !ring->event_index)
		return true;
	if ((event ^ ring->published) & WRAP)
		wanted -= ring->size;	/* of the lap before */
	return vring_need_event(wanted, slot(ring->published), slot(ring->published) - count);
}

/* Makes the `count` descriptors from `old` on visible. True: the peer is to be rung. */
bool ivshmem_packed_expose(struct ivshmem_ring *ring, u16 old, u16 count)
{
	ring->unexposed = false;
	virt_wmb();
	shared_write16(shared_slot(ring, old), SLOT_FLAGS, ring->first_flags);
	virt_mb();	/* before what the peer wants is read */
	return peer_wants_doorbell(ring, count);
}

/* The core looks at one slot, and at the next one when it has taken that: each element is visible at once. */
void ivshmem_packed_give(struct ivshmem_ring *ring, u16 index, u32 length)
{
	struct vring_packed_desc *descriptor = core_slot(ring, ring->given);

	descriptor->id = cpu_to_le16(index);
	descriptor->len = cpu_to_le32(length);
	smp_store_release(&descriptor->flags,
			  cpu_to_le16(used_flags(ring->given) | (length ? VRING_DESC_F_WRITE : 0)));
	ring->given = step(ring, ring->given, ring->heads[index].slots);
}

static bool has_returned(const struct ivshmem_ring *ring)
{
	u16 flags = shared_read16(shared_slot(ring, ring->taken), SLOT_FLAGS);

	return (flags & (AVAILABLE | USED)) == used_flags(ring->taken);
}

/* Without WRITE the length means nothing (virtio 1.4, 2.8.4). */
static bool take_next(struct ivshmem_ring *ring)
{
	const u8 *from = shared_slot(ring, ring->taken);
	bool wrote = shared_read16(from, SLOT_FLAGS) & VRING_DESC_F_WRITE;
	u16 id = shared_read16(from, SLOT_ID);

	if (!ivshmem_ring_take(ring, id, wrote ? shared_read32(from, SLOT_LENGTH) : 0))
		return false;
	ring->taken = step(ring, ring->taken, ring->heads[id].slots);
	return true;
}

/* NULL: everything the peer has returned was taken over; else what is wrong with it. Ends when nothing is in flight. */
const char *ivshmem_packed_collect(struct ivshmem_ring *ring)
{
	while (has_returned(ring)) {
		do {
			virt_rmb();
			if (!take_next(ring))
				return "it returned what it does not have";
		} while (!ring->one_at_a_time && has_returned(ring));
		if (ring->event_index)
			ask_for_event(ring, ring->shared_avail, ring->taken);
		virt_mb();
		if (ring->one_at_a_time)
			break;
	}
	return NULL;
}

/* The next chain is to be rung for. Where the peer goes on is not for the ring to say: it is told elsewhere. */
void ivshmem_packed_hand_over(struct ivshmem_ring *ring)
{
	ask_for_event(ring, ring->shared_used, ring->published);
	virt_wmb();
}

u64 ivshmem_packed_address(const struct ivshmem_ring *ring, unsigned int index)
{
	return le64_to_cpu(ring->packed_desc[index].addr);
}
