/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "patience.h"
#include "report.h"

#define OWN_CAPABILITIES (CAPABILITY_HOST_PLACED_RINGS | CAPABILITY_SIZED_TRANSACTIONS)
#define HEARTBEAT_SECONDS 3.0

static struct link *to_leave;

static void set_state(const struct link *link, uint32_t state)
{
	window_store32(&link->state_table, STATE_FRONTEND, state);
	link_ring(link, 0);
}

static void leave(void)
{
	if (to_leave)
		set_state(to_leave, STATE_ABSENT);
}

void link_open(struct link *link, const struct ivshmem *ivshmem, const struct entry *entry)
{
	memset(link, 0, sizeof(*link));
	link->ivshmem = ivshmem;
	link->entry = *entry;
	link->state_table = window_part(&ivshmem->region, entry->offset, entry->state_table_size, "State Table");
	link->window =
		window_part(&ivshmem->region, entry->offset + entry->state_table_size, entry->rw_size, "window");
}

uint32_t link_backend_state(const struct link *link)
{
	return window_load32(&link->state_table, STATE_BACKEND);
}

void link_ring(const struct link *link, uint32_t vector)
{
	/* The number may be the back-end's: it must not reach vectors of other links. */
	if (vector < link->entry.backend_vectors)
		pci_ring(link->ivshmem, link->entry.backend_peer, link->entry.backend_vector + vector);
}

static uint32_t queue_line(const struct link *link, uint32_t queue)
{
	uint32_t event_lines = (link->queue_count + LINE_BYTES - 1) / LINE_BYTES;

	return link->extension + (2 + event_lines + queue) * LINE_BYTES;
}

static void read_extension(struct link *link)
{
	const struct window *window = &link->window;
	uint32_t at = link->extension;

	if (at < HEADER_CONFIG || link->reserved < 2 * LINE_BYTES || at > link->reserved - 2 * LINE_BYTES)
		fail("the extension at 0x%" PRIx32 " lies outside the reserved 0x%" PRIx32 " bytes", at, link->reserved);
	link->extension_length = window_load32(window, at + BACKEND_LENGTH);
	if (link->extension_length % LINE_BYTES || link->extension_length < 2 * LINE_BYTES ||
	    link->extension_length > link->reserved - at)
		fail("the extension has an impossible length of 0x%" PRIx32, link->extension_length);
	link->capabilities = window_load32(window, at + BACKEND_CAPABILITIES) & OWN_CAPABILITIES;
	link->epoch = window_load64(window, at + BACKEND_EPOCH);
	link->config_length = window_load32(window, at + BACKEND_CONFIG_LENGTH);
	link->config_vector = window_load16(window, at + BACKEND_CONFIG_VECTOR);
	link->queue_count = window_load16(window, at + BACKEND_QUEUE_COUNT);
	if (link->epoch == 0)
		fail("the back-end's epoch is 0");
	if (link->config_length > at - HEADER_CONFIG)
		fail("%" PRIu32 " bytes of configuration reach into the extension", link->config_length);
	if (queue_line(link, link->queue_count) > at + link->extension_length)
		fail("%u queues do not fit the extension", link->queue_count);
}

static void read_header(struct link *link)
{
	const struct window *window = &link->window;

	link->revision = window_load32(window, HEADER_REVISION);
	link->reserved = window_load32(window, HEADER_SIZE);
	if (link->revision == 0)
		fail("the header's revision is 0");
	if (link->reserved < HEADER_CONFIG || link->reserved >= window->length)
		fail("the header claims 0x%" PRIx32 " bytes of a window of 0x%" PRIx64, link->reserved, window->length);
	link->extension = link->revision >= 2 ? window_load16(window, HEADER_EXT_OFFSET) * LINE_BYTES : 0;
	link->config_length = link->reserved - HEADER_CONFIG;
	if (link->extension)
		read_extension(link);
}

static void introduce(struct link *link)
{
	uint32_t line = link->extension + LINE_BYTES;

	do {
		if (getrandom(&link->incarnation, sizeof(link->incarnation), 0) != (ssize_t)sizeof(link->incarnation))
			fail("the system gives no random number");
	} while (link->incarnation == 0);
	window_store32(&link->window, line + FRONTEND_CAPABILITIES, OWN_CAPABILITIES);
	window_store32(&link->window, line + FRONTEND_PEER_PLUS_ONE, link->ivshmem->peer_id + 1);
	window_store16(&link->window, line + FRONTEND_CONFIG_VECTOR, 0);
	window_store64(&link->window, line + FRONTEND_INCARNATION, link->incarnation);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void await_acknowledgement(struct link *link)
{
	struct deadline deadline = patience_start();

	while (window_load64(&link->window, link->extension + BACKEND_ACKNOWLEDGED) != link->incarnation) {
		link_check(link);
		if (!patience_nap(&deadline))
			fail("link %s: the back-end does not acknowledge this driver: it is stuck, or takes peer %" PRIu32
			     " for another than its front-end",
			     link->entry.name, link->ivshmem->peer_id);
	}
}

static void await_backend(struct link *link)
{
	struct deadline deadline = patience_start();

	while (link_backend_state(link) != STATE_READY)
		if (!patience_nap(&deadline))
			fail("link %s: no back-end: its state is %" PRIu32 ", waiting for 1", link->entry.name,
			     link_backend_state(link));
}

void link_bring_up(struct link *link, bool take_over)
{
	uint32_t state = window_load32(&link->state_table, STATE_FRONTEND);

	if (state != STATE_ABSENT && !take_over)
		fail("link %s: its front-end state is %" PRIu32 ": another driver is on it; -f takes it over",
		     link->entry.name, state);
	to_leave = link;
	if (atexit(leave))
		fail("the system has no room for a function at exit");
	set_state(link, STATE_ABSENT);
	await_backend(link);
	read_header(link);
	if (link->extension)
		introduce(link);
	set_state(link, STATE_READY);
	if (link->config_vector)
		link_ring(link, link->config_vector);
	if (link->extension)
		await_acknowledgement(link);
}

static bool heart_beats(struct link *link)
{
	static uint32_t last;
	static double heard;
	uint32_t now = window_load32(&link->window, link->extension + BACKEND_HEARTBEAT);

	if (heard == 0 || now != last) {
		last = now;
		heard = patience_now();
	}
	return patience_now() - heard < HEARTBEAT_SECONDS;
}

void link_check(struct link *link)
{
	uint32_t state = link_backend_state(link);

	if (state != STATE_READY)
		fail("link %s: the back-end went away (state %" PRIu32 ")", link->entry.name, state);
	if (!link->extension)
		return;
	if (window_load64(&link->window, link->extension + BACKEND_EPOCH) != link->epoch)
		fail("link %s: the back-end started afresh", link->entry.name);
	if (!heart_beats(link))
		fail("link %s: the back-end's heartbeat stands still", link->entry.name);
	window_store32(&link->window, link->extension + LINE_BYTES + FRONTEND_HEARTBEAT, ++link->heartbeat);
}

bool link_ring_block(const struct link *link, uint32_t queue, uint64_t *offset, uint32_t *length)
{
	uint32_t line, end = link->extension + link->extension_length;

	if (!(link->capabilities & CAPABILITY_HOST_PLACED_RINGS) || queue >= link->queue_count)
		return false;
	line = queue_line(link, queue);
	*offset = window_load64(&link->window, line + QUEUE_RING_OFFSET);
	*length = window_load32(&link->window, line + QUEUE_RING_LENGTH);
	if (*offset == 0)
		return false;
	if (*offset % LINE_BYTES || *offset < end || *offset > link->reserved || *length > link->reserved - *offset)
		fail("the ring block of queue %" PRIu32 " at 0x%" PRIx64 " lies outside the reserved part", queue, *offset);
	return true;
}
