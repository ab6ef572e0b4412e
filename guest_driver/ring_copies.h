/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What private_ring.c needs of each layout. All of it runs under the ring's lock. "Core" is the copy in memory of our
 * own, which the virtio core works on, "shared" the one in the window.
 */
#ifndef VIRTIO_IVSHMEM_RING_COPIES_H
#define VIRTIO_IVSHMEM_RING_COPIES_H

#include <asm/byteorder.h>
#include <linux/types.h>
#include <linux/virtio_types.h>

struct ivshmem_queue;
struct ivshmem_ring;

enum head_state {
	HEAD_FREE,
	HEAD_IN_FLIGHT,
	HEAD_ABANDONED,
};

/* What is known of a chain, by its head or buffer id, from the core's copy. */
struct ivshmem_head {
	u64 first;	/* address in its first descriptor */
	u64 last;	/* window offset of the last byte the device may write */
	u32 room;	/* bytes it may write */
	u32 last_length;	/* of the descriptor with the last one */
	u16 slots;	/* of a packed ring, that it takes */
	u8 state;
};

/* Devices are of virtio 1: what the core writes as virtio integers is little endian. */
static inline u16 core16(__virtio16 value)
{
	return le16_to_cpu((__force __le16)value);
}

static inline __virtio16 to_core16(u16 value)
{
	return (__force __virtio16)cpu_to_le16(value);
}

static inline __virtio32 to_core32(u32 value)
{
	return (__force __virtio32)cpu_to_le32(value);
}

/* private_ring.c */
bool ivshmem_ring_take(struct ivshmem_ring *ring, u32 id, u32 length);
void ivshmem_note_piece(struct ivshmem_head *head, u64 address, u32 length, bool writable);
void ivshmem_note_table(struct ivshmem_queue *queue, struct ivshmem_head *head, u64 address);

/* split_copies.c */
void ivshmem_split_open(struct ivshmem_queue *queue);
int ivshmem_split_next(struct ivshmem_ring *ring);
void ivshmem_split_note_entry(struct ivshmem_head *head, const void *entry);
void ivshmem_split_admit(struct ivshmem_queue *queue, u16 index, bool show);
bool ivshmem_split_expose(struct ivshmem_ring *ring, u16 old);
void ivshmem_split_give(struct ivshmem_ring *ring, u16 index, u32 length);
void ivshmem_split_show_given(struct ivshmem_ring *ring);
const char *ivshmem_split_collect(struct ivshmem_ring *ring);
void ivshmem_split_return(struct ivshmem_ring *ring, u16 index);
void ivshmem_split_hand_over(struct ivshmem_ring *ring);
u64 ivshmem_split_address(const struct ivshmem_ring *ring, unsigned int index);

/* packed_copies.c */
bool ivshmem_packed_open(struct ivshmem_queue *queue);
int ivshmem_packed_next(struct ivshmem_ring *ring);
void ivshmem_packed_note_entry(struct ivshmem_head *head, const void *entry);
void ivshmem_packed_admit(struct ivshmem_queue *queue, u16 index, bool show);
bool ivshmem_packed_expose(struct ivshmem_ring *ring, u16 old, u16 count);
void ivshmem_packed_give(struct ivshmem_ring *ring, u16 index, u32 length);
const char *ivshmem_packed_collect(struct ivshmem_ring *ring);
void ivshmem_packed_hand_over(struct ivshmem_ring *ring);
u64 ivshmem_packed_address(const struct ivshmem_ring *ring, unsigned int index);

#endif
