// SPDX-License-Identifier: GPL-2.0-only
/*
 * Answers for a back-end that is away: see standin.h.
 *
 * A console's driver spins for its answer under a lock with interrupts off, a network driver for that to a control
 * request. On a machine with one processor nothing else runs meanwhile, so the waiting is done in the notification,
 * which comes right before the spinning: there the ring can be answered and the driver finds its answer at once.
 */
#include <linux/align.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/timekeeping.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "link.h"
#include "queue.h"
#include "settle.h"
#include "standin.h"
#include "window.h"

/*
 * Without a sign of life: longer than a slow machine takes to start a back-end again, since what is answered here is
 * lost; shorter than what the kernel takes for a processor that hangs.
 */
#define PATIENCE_MS 4000
#define PATIENCE_US (PATIENCE_MS * 1000)
#define PRESENT_LIMIT_US (5 * 1000 * 1000)	/* with one that is there, and does not answer */
#define STEP_LIMIT_US 1000
#define CLOCK_LIMIT_US (100 * 1000)

static u32 backend_heartbeat(const struct ivshmem_link *link)
{
	const struct ivshmem_header *header = &link->peer.header;

	return header->extension ? shared_read32(link->window, header->extension + BACKEND_HEARTBEAT) : 0;
}

static bool is_known_away(const struct ivshmem_link *link)
{
	const struct ivshmem_away *away = &link->away;

	return READ_ONCE(away->known) && READ_ONCE(away->state) == ivshmem_peer_state(link) &&
	       READ_ONCE(away->heartbeat) == backend_heartbeat(link);
}

static bool is_away(const struct ivshmem_link *link)
{
	return !ivshmem_peer_present(link) || is_known_away(link);
}

static bool is_away_for_long(const struct ivshmem_link *link)
{
	/* One whose heartbeat stands still was taken for absent no earlier than that. */
	unsigned int patience = READ_ONCE(link->peer.stalled) ? PATIENCE_MS - HEARTBEAT_LIMIT_MS : PATIENCE_MS;

	return is_known_away(link) || (!ivshmem_peer_present(link) && ivshmem_peer_absent_for(link, patience));
}

/* NULL: a back-end whose rings nobody else may write, since it would not find out. */
static u8 *queue_line(const struct ivshmem_queue *queue)
{
	const struct ivshmem_header *header = &queue->link->peer.header;
	u32 lines = header->extension + EVENT_BYTES + ALIGN(header->queue_count, EXTENSION_LINE);

	if (!header->extension || queue->index >= header->queue_count)
		return NULL;
	if (queue->ring.packed && !ivshmem_peer_can(queue->link, CAPABILITY_ANSWERED_POSITION))
		return NULL;
	return queue->link->window + lines + queue->index * EXTENSION_LINE;
}

static bool change_owner(u8 *line, u32 from, u32 owner)
{
	__le32 *word = (__le32 *)(line + QUEUE_LINE_OWNER);
	u32 to = ((from & ~OWNER_MASK) + OWNER_CHANGE) | owner;

	return cmpxchg(word, cpu_to_le32(from), cpu_to_le32(to)) == cpu_to_le32(from);
}

/*
 * The word is read before the back-end's state, and taken only if it still is that word: a back-end that comes back
 * stores its state before it takes the word, so one of us two sees the other.
 */
static bool take_ring(struct ivshmem_queue *queue, u32 *taken)
{
	u8 *line = queue_line(queue);
	u32 found;

	if (!line)
		return false;
	found = shared_read32(line, QUEUE_LINE_OWNER);
	virt_mb();
	if (!is_away(queue->link) || !change_owner(line, found, OWNER_FRONTEND))
		return false;
	*taken = ((found & ~OWNER_MASK) + OWNER_CHANGE) | OWNER_FRONTEND;
	return true;
}

/*
 * A used index tells the back-end that everything up to it was answered. A packed ring has none, so it is told where to
 * go on, and from when that is: only a word newer than the one it knows of counts.
 */
static void tell_position(struct ivshmem_queue *queue, u32 taken, u16 position)
{
	u8 *line = queue_line(queue);

	if (!queue->ring.packed)
		return;
	shared_write32(line, QUEUE_LINE_ANSWERED_POSITION, position);
	shared_publish32(line, QUEUE_LINE_ANSWERED_OWNER, taken);
}

static void give_ring_back(struct ivshmem_queue *queue, u32 taken)
{
	change_owner(queue_line(queue), taken, OWNER_NOBODY);
}

/* One pass: everything is answered, or nothing. It waits for nobody. */
static bool stand_in(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_link *link = queue->link;
	unsigned int answered;
	unsigned long flags;
	u16 position;
	u32 taken;

	spin_lock_irqsave(&link->standin_lock, flags);
	if (!take_ring(queue, &taken)) {
		spin_unlock_irqrestore(&link->standin_lock, flags);
		return false;
	}
	if (ivshmem_ring_answer_as_owner(queue, how, &answered, &position))
		tell_position(queue, taken, position);
	give_ring_back(queue, taken);
	link->standin_passes++;
	if (how == ANSWER_EMPTY)
		link->dropped += answered;
	else
		link->refused += answered;
	spin_unlock_irqrestore(&link->standin_lock, flags);
	return true;
}

/*
 * What was seen of a back-end that is away: as it was seen then, since another may have come meanwhile. What is
 * remembered counts under the lock, where a ring is taken; elsewhere it is a hint.
 */
static void remember_away(struct ivshmem_link *link, u32 state, u32 heartbeat)
{
	unsigned long flags;

	spin_lock_irqsave(&link->standin_lock, flags);
	WRITE_ONCE(link->away.state, state);
	WRITE_ONCE(link->away.heartbeat, heartbeat);
	WRITE_ONCE(link->away.known, true);
	spin_unlock_irqrestore(&link->standin_lock, flags);
}

void ivshmem_standin_forget(struct ivshmem_link *link)
{
	WRITE_ONCE(link->away.known, false);
	WRITE_ONCE(link->give_up, false);
}

/* What a driver that is about to spin has seen of the back-end so far. */
struct wait {
	u64 clock;		/* as it was read last */
	u64 counted;		/* of it, as far as it is in what follows */
	u32 state;
	u32 heartbeat;
	u32 still_us;		/* since one of them changed */
	u32 us;
};

/*
 * A delay is no measure of time: an emulated machine's second processor, which calibrates it by itself, was seen to take
 * one for done after a thousandth of it. The clock that the time of day is kept by goes on with interrupts off, unless
 * the tick is all there is; where it stands still the delay has to do. A jump counts for a bit only.
 */
static u32 rest(struct wait *wait)
{
	u32 step = min_t(u32, 1 + wait->us / 16, STEP_LIMIT_US);
	u64 now, passed;

	udelay(step);
	now = ktime_get_mono_fast_ns();
	if (now <= wait->clock)
		return step;
	wait->clock = now;
	passed = (now - wait->counted) / NSEC_PER_USEC;
	wait->counted += passed * NSEC_PER_USEC;
	return min_t(u64, passed, CLOCK_LIMIT_US);
}

static void look_and_rest(struct wait *wait, const struct ivshmem_link *link)
{
	u32 heartbeat = backend_heartbeat(link);
	u32 state = ivshmem_peer_state(link);
	u32 step = rest(wait);

	if (heartbeat != wait->heartbeat || state != wait->state)
		wait->still_us = 0;
	wait->heartbeat = heartbeat;
	wait->state = state;
	wait->us += step;
	wait->still_us += step;
}

static bool answer_if_away(struct ivshmem_queue *queue, enum ivshmem_answer how, const struct wait *wait)
{
	struct ivshmem_link *link = queue->link;

	if (wait->still_us < PATIENCE_US && !is_away_for_long(link))
		return false;
	remember_away(link, wait->state, wait->heartbeat);
	if (!stand_in(queue, how))
		return false;
	ivshmem_watch_now(link);	/* to say so, and to look after what the driver does not spin for */
	return true;
}

/* Nothing comes back on it any more, from anybody: its epoch is over, its peer broke a rule, or it was reset. */
static bool is_dead(const struct ivshmem_queue *queue)
{
	const struct ivshmem_link *link = queue->link;

	return READ_ONCE(link->detached) || READ_ONCE(queue->ring.distrusted) || !READ_ONCE(link->status);
}

/* The driver spins for its answer as soon as this returns. It does not return before there is one, within bounds. */
void ivshmem_standin_await(struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	struct ivshmem_link *link = queue->link;
	u64 now = ktime_get_mono_fast_ns();
	struct wait wait = {
		.clock = now,
		.counted = now,
		.state = ivshmem_peer_state(link),
		.heartbeat = backend_heartbeat(link),
	};

	for (;;) {
		ivshmem_ring_collect(queue);
		/* First, for then nobody was shown what the driver waits for. */
		if (is_dead(queue)) {
			ivshmem_ring_answer(queue, how);
			return;
		}
		if (ivshmem_ring_idle(queue))
			return;
		if (answer_if_away(queue, how, &wait)) {
			if (!ivshmem_ring_idle(queue))
				ivshmem_ring_answer(queue, how);
			return;
		}
		if (wait.us > PRESENT_LIMIT_US)
			break;
		look_and_rest(&wait, link);
	}
	ivshmem_ring_abandon(queue, how);
	/* It is not said here: the driver's lock is held, and what is said may go out through this very queue. */
	WRITE_ONCE(link->unanswered, true);
	ivshmem_watch_now(link);
}

/* The device is being taken away, or the administrator gave up on what waits. */
static bool nothing_may_wait(const struct ivshmem_link *link)
{
	return READ_ONCE(link->removing) || READ_ONCE(link->phase) == PHASE_RENEWING || READ_ONCE(link->give_up);
}

bool ivshmem_standin_is_busy(const struct ivshmem_link *link)
{
	return nothing_may_wait(link) && is_away_for_long(link);
}

/* Who waits asleep may wait on, for that keeps nothing else from running. */
static bool may_answer(const struct ivshmem_queue *queue, enum ivshmem_answer how)
{
	return how != ANSWER_NOTHING && (!queue->waited_for || nothing_may_wait(queue->link));
}

static void look_at_queue(struct ivshmem_queue *queue)
{
	enum ivshmem_answer how = ivshmem_settle_answer(queue);
	unsigned long flags;

	if (!may_answer(queue, how))
		return;
	local_bh_disable();
	spin_lock_irqsave(&queue->lock, flags);
	if (queue->live && queue->ring.size && queue->link->status & VIRTIO_CONFIG_S_DRIVER_OK && stand_in(queue, how))
		vring_interrupt(0, queue->vq);
	spin_unlock_irqrestore(&queue->lock, flags);
	local_bh_enable();
}

/* Done again and again while the back-end is away. */
void ivshmem_standin_look(struct ivshmem_link *link)
{
	unsigned int i;

	if (!is_away_for_long(link))
		return;
	mutex_lock(&link->table);
	for (i = 0; i < link->queue_count; i++)
		if (link->queues[i].vq)
			look_at_queue(&link->queues[i]);
	mutex_unlock(&link->table);
}

/* /sys/bus/auxiliary/devices/virtio_ivshmem.link.N/give_up: 1 = answer what waits for an absent back-end with errors. */
static ssize_t give_up_store(struct device *dev, struct device_attribute *attribute, const char *text, size_t length)
{
	struct ivshmem_link *link = ivshmem_link_of(dev);
	bool wanted;
	int error = kstrtobool(text, &wanted);

	if (error)
		return error;
	if (wanted && READ_ONCE(link->peer.presence) != PRESENCE_ABSENT)
		return -EBUSY;	/* it is there: nothing is given up while somebody answers */
	WRITE_ONCE(link->give_up, wanted);
	ivshmem_watch_now(link);
	return length;
}

static ssize_t give_up_show(struct device *dev, struct device_attribute *attribute, char *text)
{
	return sysfs_emit(text, "%d\n", READ_ONCE(ivshmem_link_of(dev)->give_up));
}
static DEVICE_ATTR_RW(give_up);

static struct attribute *attributes[] = {
	&dev_attr_give_up.attr,
	NULL
};

static const struct attribute_group group = { .attrs = attributes };

const struct attribute_group *ivshmem_standin_groups[] = {
	&group,
	NULL
};
