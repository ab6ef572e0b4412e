// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watch of a link looks at the back-end when it rings, and once a second whether or not it does. It never blocks;
 * what may block it leaves to the registering work.
 */
#include <linux/jiffies.h>
#include <linux/virtio_config.h>

#include "link.h"
#include "queue.h"
#include "settle.h"
#include "standin.h"
#include "window.h"

#define WATCH_MS 1000
#define WATCH_ABSENT_MS 200
#define WATCH_GREETING_MS 10
#define WATCH_SETTLING_MS 10	/* answering for a back-end that is lost */
#define WATCH_DEAF_MS 10	/* no vector of its own: the only way to learn of used buffers */
#define LONG_ABSENCE_MS 60000
#define PATIENCE_MS 90000	/* less than what makes a task count as hung */
#define REMOVAL_PATIENCE_MS 5000

void ivshmem_watch_now(struct ivshmem_link *link)
{
	mod_delayed_work(ivshmem_watch_queue, &link->watch, 0);
}

/* From any context. The watch takes the device away from the back-end. */
void ivshmem_link_distrust(struct ivshmem_link *link, unsigned int queue, const char *why)
{
	WRITE_ONCE(link->distrust_queue, queue);
	WRITE_ONCE(link->distrust, why);
	ivshmem_watch_now(link);
}

static bool has_device(const struct ivshmem_link *link)
{
	return link->phase >= PHASE_REGISTERING;
}

static void hand_over(struct ivshmem_link *link, enum ivshmem_phase phase)
{
	WRITE_ONCE(link->phase, phase);
	queue_work(ivshmem_life_queue, &link->registration);
}

/* Line 1, own state 1, bell: the back-end acknowledges our incarnation. Revision 1 has nothing to acknowledge. */
static void greet(struct ivshmem_link *link, const struct ivshmem_header *header)
{
	if (time_before(jiffies, link->not_before))
		return;
	link->peer.header = *header;
	WRITE_ONCE(link->detached, false);
	ivshmem_write_own_line(link);
	ivshmem_set_own_state(link, STATE_READY);
	WRITE_ONCE(link->phase, PHASE_GREETING);
}

static void start_over(struct ivshmem_link *link)
{
	ivshmem_set_own_state(link, STATE_ABSENT);
	link->peer.header = (struct ivshmem_header){};
	WRITE_ONCE(link->phase, PHASE_WAITING);
}

static void await_acknowledgement(struct ivshmem_link *link, enum ivshmem_presence presence,
				  const struct ivshmem_header *header)
{
	if (presence == PRESENCE_ABSENT || header->epoch != link->peer.header.epoch ||
	    header->extension != link->peer.header.extension)
		start_over(link);
	else if (presence == PRESENCE_READY && ivshmem_peer_acknowledged(link))
		hand_over(link, PHASE_REGISTERING);
}

static void note_absence(struct ivshmem_link *link)
{
	struct ivshmem_peer *peer = &link->peer;

	WRITE_ONCE(peer->absent_since, jiffies);
	peer->long_absence_told = false;
	link->absences++;
	if (has_device(link))
		dev_warn_ratelimited(&link->adev.dev, "back-end absent%s, I/O waits\n", peer->stalled ? " (no heartbeat)" : "");
	else
		dev_info_ratelimited(&link->adev.dev, "waiting for a back-end\n");
}

static void note_return(struct ivshmem_link *link)
{
	unsigned int milliseconds = ivshmem_peer_absence(link);

	link->absent_total_ms += milliseconds;
	ivshmem_standin_forget(link);
	if (has_device(link) && !link->detached)
		dev_info_ratelimited(&link->adev.dev, "back-end back after %u ms, resumed\n", milliseconds);
}

static void note_long_absence(struct ivshmem_link *link)
{
	if (link->peer.long_absence_told || !ivshmem_peer_absent_for(link, LONG_ABSENCE_MS) || !has_device(link))
		return;
	dev_warn(&link->adev.dev, "back-end absent for %u s, I/O still waits\n", ivshmem_peer_absence(link) / 1000);
	link->peer.long_absence_told = true;
}

static void note_silence(struct ivshmem_link *link)
{
	if (!READ_ONCE(link->unanswered))
		return;
	WRITE_ONCE(link->unanswered, false);
	dev_warn_ratelimited(&link->adev.dev, "the back-end is there and does not answer, the driver goes on without\n");
}

/*
 * A back-end that broke a rule is not listened to any more; one that is there and answers nothing is not waited for
 * without end, since the kernel would take the waiting tasks for hung, and none of them can be interrupted.
 */
static void judge(struct ivshmem_link *link, enum ivshmem_presence presence)
{
	unsigned int patience = READ_ONCE(link->removing) ? REMOVAL_PATIENCE_MS : PATIENCE_MS;
	bool waits = presence == PRESENCE_READY || READ_ONCE(link->removing);
	const char *why = READ_ONCE(link->distrust);
	unsigned int queue = READ_ONCE(link->distrust_queue);

	if (!has_device(link) || link->detached)
		return;
	if (!why && waits && ivshmem_link_is_stuck(link, patience, &queue))
		why = "it returned nothing for too long";
	if (!why)
		return;
	dev_err_ratelimited(&link->adev.dev, "queue %u: the back-end is not trusted any more: %s\n", queue, why);
	WRITE_ONCE(link->distrust, why);
	WRITE_ONCE(link->detached, true);
}

/* The epoch the device belongs to is over: from now on nothing of it reaches the peer. */
static bool epoch_has_ended(struct ivshmem_link *link, enum ivshmem_presence presence,
			    const struct ivshmem_header *header)
{
	const struct ivshmem_header *known = &link->peer.header;

	if (!has_device(link) || link->detached)
		return false;
	/* Revision 1 has no epoch: it never resumes, and before it comes back it waits for us to go. */
	if (!known->extension)
		return presence == PRESENCE_ABSENT || header->extension;
	return presence != PRESENCE_ABSENT &&
	       (header->epoch != known->epoch || header->extension != known->extension);
}

/*
 * A server that took us for dead, by mistake, has zeroed our State Table entry. Where the back-end saw that it has reset
 * its device, in-flight requests and all, and nothing tells so but the status it shows: not even the incarnation changes.
 */
static bool has_forgotten_us(struct ivshmem_link *link, enum ivshmem_presence presence)
{
	bool forgotten;

	if (presence != PRESENCE_READY || !has_device(link) || link->detached)
		return false;
	if (!mutex_trylock(&link->registers))
		return false;	/* somebody is just talking to it */
	forgotten = link->status & VIRTIO_CONFIG_S_DRIVER_OK && !link->spoiled &&
		    !shared_read8(link->window, HEADER_DEVICE_STATUS) && ivshmem_peer_is_ours(link);
	mutex_unlock(&link->registers);
	return forgotten;
}

static void look_at_peer(struct ivshmem_link *link, struct ivshmem_header *header)
{
	enum ivshmem_presence before = link->peer.presence;
	enum ivshmem_presence now = ivshmem_peer_look(link, header);
	bool other_process;

	if (epoch_has_ended(link, now, header)) {
		dev_info_ratelimited(&link->adev.dev, "back-end %s afresh, the device is registered anew\n",
			 now == PRESENCE_ABSENT ? "will begin" : "began");
		WRITE_ONCE(link->detached, true);
	}
	if (has_forgotten_us(link, now))
		ivshmem_link_distrust(link, 0, "it has forgotten its driver");
	judge(link, now);
	if (now == PRESENCE_ABSENT && before != PRESENCE_ABSENT)
		note_absence(link);
	if (now != PRESENCE_ABSENT && before == PRESENCE_ABSENT)
		note_return(link);
	WRITE_ONCE(link->peer.presence, now);

	if (now == PRESENCE_ABSENT || !has_device(link) || link->detached)
		return;
	other_process = header->session != link->peer.header.session;
	link->peer.header.session = header->session;
	if (now == PRESENCE_READY && (before != PRESENCE_READY || other_process))
		ivshmem_link_look_at_queues(link, true);
}

static void advance(struct ivshmem_link *link, const struct ivshmem_header *header)
{
	enum ivshmem_presence presence = link->peer.presence;

	if (READ_ONCE(link->removing) || READ_ONCE(link->asleep))
		return;
	switch (READ_ONCE(link->phase)) {
	case PHASE_WAITING:
		if (presence != PRESENCE_ABSENT)
			greet(link, header);
		break;
	case PHASE_GREETING:
		await_acknowledgement(link, presence, header);
		break;
	case PHASE_ONLINE:
		if (link->detached || (link->spoiled && presence == PRESENCE_READY))
			hand_over(link, PHASE_RENEWING);
		break;
	case PHASE_REGISTERING:
	case PHASE_RENEWING:
		break;
	}
}

static unsigned long next_look(const struct ivshmem_link *link)
{
	unsigned int milliseconds = WATCH_MS;

	if (READ_ONCE(link->phase) == PHASE_GREETING)
		milliseconds = WATCH_GREETING_MS;
	else if (has_device(link) && (link->detached || ivshmem_standin_is_busy(link)))
		milliseconds = WATCH_SETTLING_MS;
	else if (link->peer.presence == PRESENCE_ABSENT)
		milliseconds = WATCH_ABSENT_MS;
	else if (!link->vectors && has_device(link))
		milliseconds = WATCH_DEAF_MS;
	return msecs_to_jiffies(milliseconds);
}

void ivshmem_watch(struct work_struct *work)
{
	struct ivshmem_link *link = container_of(to_delayed_work(work), struct ivshmem_link, watch);
	struct ivshmem_header header = {};

	ivshmem_restore_own_state(link);
	look_at_peer(link, &header);
	note_long_absence(link);
	note_silence(link);
	advance(link, &header);
	if (has_device(link) && link->detached) {
		ivshmem_settle(link);
	} else if (has_device(link)) {
		ivshmem_link_look_for_event(link);
		ivshmem_link_look_at_queues(link, false);
		ivshmem_standin_look(link);
	}
	ivshmem_beat(link);
	/* Not if somebody asked for an earlier look meanwhile. */
	queue_delayed_work(ivshmem_watch_queue, &link->watch, next_look(link));
}
