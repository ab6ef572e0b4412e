// SPDX-License-Identifier: GPL-2.0-only
/* The other side of a link: is it there, is it the one we know, and how do we speak to it. */
#include <linux/align.h>
#include <linux/jiffies.h>
#include <linux/random.h>

#include "link.h"
#include "window.h"

#define OWN_CAPABILITIES (CAPABILITY_PLACED_RINGS | CAPABILITY_RESUME | CAPABILITY_SIZED_TRANSACTIONS | \
			  CAPABILITY_EVENT_BYTES | CAPABILITY_ANSWERED_POSITION)

u32 ivshmem_peer_state(const struct ivshmem_link *link)
{
	return shared_read32(link->state_table, 4 * PEER_BACKEND);
}

/* Revision 1 knows no state but "ready". */
static enum ivshmem_presence presence_in(u32 state, u32 capabilities)
{
	if (state == STATE_READY)
		return PRESENCE_READY;
	if (state == STATE_RESUMING && capabilities & CAPABILITY_RESUME)
		return PRESENCE_RESUMING;
	return PRESENCE_ABSENT;
}

/*
 * That a heartbeat stood still says something about one process only, and while that is ready. Its successor has
 * another heartbeat before it is ready, and is not to be taken for it until the watch looks the next time.
 */
static bool is_stalled(const struct ivshmem_link *link)
{
	const struct ivshmem_header *header = &link->peer.header;

	return READ_ONCE(link->peer.stalled) && header->extension &&
	       shared_read32(link->window, header->extension + BACKEND_HEARTBEAT) == READ_ONCE(link->peer.heartbeat);
}

bool ivshmem_peer_present(const struct ivshmem_link *link)
{
	u32 state = ivshmem_peer_state(link);

	virt_rmb();	/* the heartbeat is written before the state */
	return state == STATE_RESUMING || (state == STATE_READY && !is_stalled(link));
}

u64 ivshmem_peer_epoch(const struct ivshmem_link *link)
{
	const struct ivshmem_header *header = &link->peer.header;

	return header->extension ? shared_read64(link->window, header->extension + BACKEND_EPOCH) : 0;
}

/*
 * Whether the rings in the window still are what the driver and a back-end made of them. A back-end that starts
 * afresh zeroes the rings it placed, and a driver that looks then would take zeroes for completions.
 */
bool ivshmem_peer_is_ours(const struct ivshmem_link *link)
{
	if (READ_ONCE(link->detached) || !ivshmem_peer_present(link))
		return false;
	virt_rmb();
	return ivshmem_peer_epoch(link) == link->peer.header.epoch;
}

bool ivshmem_peer_can(const struct ivshmem_link *link, u32 capability)
{
	return link->peer.header.capabilities & capability;
}

bool ivshmem_peer_acknowledged(const struct ivshmem_link *link)
{
	const struct ivshmem_header *header = &link->peer.header;

	return !header->extension ||
	       shared_read64(link->window, header->extension + BACKEND_INCARNATION) == link->incarnation;
}

unsigned int ivshmem_peer_absence(const struct ivshmem_link *link)
{
	if (READ_ONCE(link->peer.presence) != PRESENCE_ABSENT)
		return 0;
	return jiffies_to_msecs(jiffies - READ_ONCE(link->peer.absent_since));
}

bool ivshmem_peer_absent_for(const struct ivshmem_link *link, unsigned int milliseconds)
{
	return READ_ONCE(link->peer.presence) == PRESENCE_ABSENT && ivshmem_peer_absence(link) >= milliseconds;
}

static int read_extension(const struct ivshmem_link *link, struct ivshmem_header *header)
{
	const u8 *line = link->window + header->extension;
	u32 room, need;

	if (header->extension < HEADER_CONFIG || header->size < EVENT_BYTES ||
	    header->extension > header->size - EVENT_BYTES)
		return -EPROTO;
	room = header->size - header->extension;
	header->extension_length = shared_read32(line, BACKEND_LENGTH);
	header->capabilities = shared_read32(line, BACKEND_CAPABILITIES) & OWN_CAPABILITIES;
	header->epoch = shared_read64(line, BACKEND_EPOCH);
	header->session = shared_read64(line, BACKEND_SESSION);
	header->config_length = shared_read32(line, BACKEND_CONFIG_LENGTH);
	header->config_vector = shared_read16(line, BACKEND_CONFIG_VECTOR);
	header->queue_count = shared_read16(line, BACKEND_QUEUE_COUNT);

	need = EVENT_BYTES + ALIGN(header->queue_count, EXTENSION_LINE) + header->queue_count * EXTENSION_LINE;
	if (header->extension_length > room || header->extension_length < need ||
	    !IS_ALIGNED(header->extension_length, EXTENSION_LINE) || !header->epoch)
		return -EPROTO;
	if (header->config_length > header->size - HEADER_CONFIG ||
	    header->config_vector >= link->entry.backend_vectors)
		return -EPROTO;
	return 0;
}

/* Reads every word once. -EPROTO: what stands there cannot be true. */
int ivshmem_peer_read_header(const struct ivshmem_link *link, struct ivshmem_header *header)
{
	virt_rmb();	/* the State Table entry was read before */
	*header = (struct ivshmem_header){
		.revision = shared_read32(link->window, HEADER_REVISION),
		.size = shared_read32(link->window, HEADER_SIZE),
		.extension = (u32)shared_read16(link->window, HEADER_EXT_OFFSET) * EXTENSION_LINE,
	};
	if (!header->revision || header->size < HEADER_CONFIG || header->size >= link->entry.rw_size)
		return -EPROTO;
	if (header->revision > 1 && header->extension)
		return read_extension(link, header);
	header->extension = 0;
	header->config_length = header->size - HEADER_CONFIG;
	return 0;
}

static void look_at_heartbeat(struct ivshmem_link *link, const struct ivshmem_header *header)
{
	struct ivshmem_peer *peer = &link->peer;
	u32 heartbeat;

	if (!header->extension) {
		WRITE_ONCE(peer->stalled, false);
		return;
	}
	heartbeat = shared_read32(link->window, header->extension + BACKEND_HEARTBEAT);
	if (heartbeat != peer->heartbeat || peer->seen_state != STATE_READY) {
		peer->heartbeat = heartbeat;
		peer->heartbeat_at = jiffies;
	}
	WRITE_ONCE(peer->stalled, time_after(jiffies, peer->heartbeat_at + msecs_to_jiffies(HEARTBEAT_LIMIT_MS)));
}

/* One look at the back-end. The header is valid unless it is absent; a header that cannot be true counts as absence. */
enum ivshmem_presence ivshmem_peer_look(struct ivshmem_link *link, struct ivshmem_header *header)
{
	struct ivshmem_peer *peer = &link->peer;
	u32 state = ivshmem_peer_state(link);
	enum ivshmem_presence presence = PRESENCE_ABSENT;

	if (state == STATE_READY || state == STATE_RESUMING) {
		if (!ivshmem_peer_read_header(link, header)) {
			look_at_heartbeat(link, header);
			peer->complained = false;
			presence = peer->stalled ? PRESENCE_ABSENT : presence_in(state, header->capabilities);
		} else if (!peer->complained) {
			dev_err_ratelimited(&link->adev.dev, "back-end says it is ready, but its header cannot be true; waiting\n");
			peer->complained = true;
		}
	}
	WRITE_ONCE(peer->seen_state, state);
	return presence;
}

/*
 * QEMU drops, silently, what a guest sends to a vector at or above its own number of vectors. The other side looks
 * at everything whichever vector wakes it, so the nearest one that can be reached serves as well.
 */
u32 ivshmem_doorbell(const struct ivshmem_link *link, u16 vector)
{
	u32 absolute = link->entry.backend_vector;

	if (vector < link->entry.backend_vectors && absolute + vector < link->function->vectors)
		absolute += vector;
	else if (absolute >= link->function->vectors)
		absolute = 0;
	return link->entry.backend_peer << 16 | absolute;
}

void ivshmem_ring_config(struct ivshmem_link *link)
{
	ivshmem_function_ring(link->function, ivshmem_doorbell(link, link->peer.header.config_vector));
}

void ivshmem_set_own_state(struct ivshmem_link *link, u32 state)
{
	WRITE_ONCE(link->own_state, state);
	shared_publish32(link->state_table, 4 * PEER_FRONTEND, state);
	ivshmem_ring_config(link);
}

/* A server that took us for dead has zeroed our entry. */
void ivshmem_restore_own_state(struct ivshmem_link *link)
{
	u32 state = READ_ONCE(link->own_state);

	if (shared_read32(link->state_table, 4 * PEER_FRONTEND) != state)
		ivshmem_set_own_state(link, state);
}

void ivshmem_choose_incarnation(struct ivshmem_link *link)
{
	u64 incarnation;

	do {
		incarnation = get_random_u64();
	} while (!incarnation || incarnation == link->incarnation);
	WRITE_ONCE(link->incarnation, incarnation);
}

/* Makes the back-end forget what it knows of this driver, whenever it sees it. */
void ivshmem_new_incarnation(struct ivshmem_link *link)
{
	ivshmem_choose_incarnation(link);
	if (link->peer.header.extension && !READ_ONCE(link->detached))
		shared_write64(link->window, link->peer.header.extension + FRONTEND_INCARNATION,
			       link->incarnation);
	virt_mb();	/* the back-end's state is read afterwards */
}

/* Line 1 of the extension, before the own state becomes 1. */
void ivshmem_write_own_line(struct ivshmem_link *link)
{
	u32 extension = link->peer.header.extension;

	if (!extension)
		return;
	shared_write64(link->window, extension + FRONTEND_INCARNATION, link->incarnation);
	shared_write32(link->window, extension + FRONTEND_CAPABILITIES, OWN_CAPABILITIES);
	shared_write32(link->window, extension + FRONTEND_PEER_PLUS_ONE, link->function->peer_id + 1);
	shared_write32(link->window, extension + FRONTEND_HEARTBEAT, link->heartbeat);
	shared_write16(link->window, extension + FRONTEND_CONFIG_VECTOR, 0);
}

void ivshmem_beat(struct ivshmem_link *link)
{
	link->heartbeat++;
	if (link->peer.header.extension && link->own_state == STATE_READY && !link->detached)
		shared_write32(link->window, link->peer.header.extension + FRONTEND_HEARTBEAT, link->heartbeat);
}
