// SPDX-License-Identifier: GPL-2.0-only
/*
 * A request for which there is no room is tried again by Linux' block driver, until there is. One that is larger than
 * the window would be tried for ever: it gets into no ring, so nobody can answer it, and its device could not be taken
 * away any more. So the largest that the driver makes must fit, whatever the back-end says of segments and of windows.
 */
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "request_size.h"

/* One page of data, and what goes with it, twice over. */
#define LEAST_ROOM (4 * PAGE_SIZE)

/*
 * Blocks are up to twice as large as what lies in them, and an eighth of the room is not for what the device writes. A
 * page is for header and status.
 */
static u64 room_for_data(const struct ivshmem_link *link)
{
	u64 room = READ_ONCE(link->pool.capacity) / 8 * 3;

	return room > PAGE_SIZE ? room - PAGE_SIZE : 0;
}

bool ivshmem_request_fits(const struct ivshmem_link *link)
{
	if (link->entry.device_id != VIRTIO_ID_BLOCK || link->pool.capacity >= LEAST_ROOM)
		return true;
	dev_err_ratelimited(&link->adev.dev, "the window has %llu bytes for buffers; a disk needs %lu\n",
			    link->pool.capacity, LEAST_ROOM);
	return false;
}

/* The number of segments the driver is told, which may be a page each. */
u32 ivshmem_request_segments(struct ivshmem_link *link, u32 offered)
{
	u32 most = min_t(u64, div_u64(room_for_data(link), PAGE_SIZE + sizeof(struct vring_desc)), U16_MAX);
	u32 told = min(offered, max(most, 1U));

	WRITE_ONCE(link->request_segments, told);
	return told;
}

/* The longest that each of them may be. */
u64 ivshmem_request_piece(const struct ivshmem_link *link)
{
	return div_u64(room_for_data(link), max(READ_ONCE(link->request_segments), 1U));
}
