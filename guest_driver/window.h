/* SPDX-License-Identifier: GPL-2.0-only */
/* Single reads and writes of shared memory. Whatever is read is somebody else's word: check it before use. */
#ifndef VIRTIO_IVSHMEM_WINDOW_H
#define VIRTIO_IVSHMEM_WINDOW_H

#include <asm/barrier.h>
#include <asm/byteorder.h>
#include <linux/compiler.h>
#include <linux/types.h>

static inline u8 shared_read8(const u8 *base, u64 offset)
{
	return READ_ONCE(base[offset]);
}

static inline u16 shared_read16(const u8 *base, u64 offset)
{
	return le16_to_cpu(READ_ONCE(*(const __le16 *)(base + offset)));
}

static inline u32 shared_read32(const u8 *base, u64 offset)
{
	return le32_to_cpu(READ_ONCE(*(const __le32 *)(base + offset)));
}

static inline u64 shared_read64(const u8 *base, u64 offset)
{
	return le64_to_cpu(READ_ONCE(*(const __le64 *)(base + offset)));
}

/* Everything written or read before is done before this word appears. */
static inline void shared_publish32(u8 *base, u64 offset, u32 value)
{
	virt_store_release((__le32 *)(base + offset), cpu_to_le32(value));
}

static inline void shared_write8(u8 *base, u64 offset, u8 value)
{
	WRITE_ONCE(base[offset], value);
}

static inline void shared_write16(u8 *base, u64 offset, u16 value)
{
	WRITE_ONCE(*(__le16 *)(base + offset), cpu_to_le16(value));
}

static inline void shared_write32(u8 *base, u64 offset, u32 value)
{
	WRITE_ONCE(*(__le32 *)(base + offset), cpu_to_le32(value));
}

static inline void shared_write64(u8 *base, u64 offset, u64 value)
{
	WRITE_ONCE(*(__le64 *)(base + offset), cpu_to_le64(value));
}

#endif
