// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transactions sleep and are bounded: a back-end that is there gets two seconds, one that is not gets 0.3 s, counted
 * from when it was last seen, so that taking devices away from under a dead back-end does not add up.
 */
#include <linux/delay.h>
#include <linux/ktime.h>

#include "link.h"
#include "transaction.h"
#include "window.h"

#define PRESENT_LIMIT_MS 2000
#define ABSENT_LIMIT_MS 300
#define TRIES 3

static bool word_is_clear(const struct ivshmem_link *link)
{
	return !shared_read32(link->window, HEADER_WRITE_TRANSACTION);
}

static bool can_post(const struct ivshmem_link *link)
{
	return ivshmem_peer_present(link) && word_is_clear(link) && ivshmem_peer_acknowledged(link);
}

/* Answers come within tens of microseconds, or the other side is busy: look less often the longer it takes. */
static void nap(unsigned int looks)
{
	if (looks < 10)
		usleep_range(20, 60);
	else if (looks < 100)
		usleep_range(100, 300);
	else
		usleep_range(1000, 2000);
}

/* `start`: when the whole undertaking began that this wait is part of. */
static int wait_until(struct ivshmem_link *link, ktime_t start, bool (*done)(const struct ivshmem_link *link))
{
	ktime_t present_at = ktime_get();
	unsigned int looks;

	for (looks = 0; !done(link); looks++) {
		ktime_t now = ktime_get();

		if (READ_ONCE(link->detached))
			return -ESTALE;
		if (ivshmem_peer_present(link))
			present_at = now;
		else if (ktime_ms_delta(now, present_at) >= ABSENT_LIMIT_MS ||
			 ivshmem_peer_absent_for(link, ABSENT_LIMIT_MS))
			return -ENOTCONN;
		if (ktime_ms_delta(now, start) >= PRESENT_LIMIT_MS)
			return -ETIMEDOUT;
		nap(looks);
	}
	virt_rmb();
	return 0;
}

int ivshmem_wait_acknowledged(struct ivshmem_link *link)
{
	return wait_until(link, ktime_get(), ivshmem_peer_acknowledged);
}

static void store(struct ivshmem_link *link, u16 offset, unsigned int size, u64 value)
{
	switch (size) {
	case 1:
		shared_write8(link->window, offset, value);
		break;
	case 2:
		shared_write16(link->window, offset, value);
		break;
	case 4:
		shared_write32(link->window, offset, value);
		break;
	case 8:
		shared_write64(link->window, offset, value);
		break;
	}
}

static u32 next_word(struct ivshmem_link *link, u16 offset, unsigned int size)
{
	if (!ivshmem_peer_can(link, CAPABILITY_SIZED_TRANSACTIONS))
		return offset;
	link->transaction_sequence++;
	return offset | size << TRANSACTION_SIZE_SHIFT | link->transaction_sequence << TRANSACTION_SEQUENCE_SHIFT;
}

/*
 * Nobody answered. With sized transactions the back-end clears a word only while it reads as the one it served, so a
 * word taken back cannot take a later one with it.
 */
static void withdraw(struct ivshmem_link *link)
{
	if (ivshmem_peer_can(link, CAPABILITY_SIZED_TRANSACTIONS))
		shared_publish32(link->window, HEADER_WRITE_TRANSACTION, 0);
}

/*
 * The word is 0. A back-end that begins afresh zeroes it, too, with its state 0 and before its epoch changes. So an
 * absent one has served nothing, and the state comes first: once it reads as before, the epoch beside it is whole.
 * -EAGAIN: perhaps not served.
 */
static int confirm(const struct ivshmem_link *link, u32 state_before)
{
	u32 state = ivshmem_peer_state(link);

	virt_rmb();
	if (ivshmem_peer_epoch(link) != link->peer.header.epoch)
		return -ESTALE;
	return state == state_before && state != STATE_ABSENT ? 0 : -EAGAIN;
}

static int post_once(struct ivshmem_link *link, ktime_t start, u16 offset, unsigned int size, u64 value)
{
	u32 state;
	int error;

	if (READ_ONCE(link->detached))
		return -ESTALE;
	error = wait_until(link, start, can_post);
	if (error)
		return error;
	state = ivshmem_peer_state(link);
	if (ivshmem_peer_epoch(link) != link->peer.header.epoch)
		return -ESTALE;

	store(link, offset, size, value);
	shared_publish32(link->window, HEADER_WRITE_TRANSACTION, next_word(link, offset, size));
	ivshmem_ring_config(link);
	error = wait_until(link, start, word_is_clear);
	if (error) {
		withdraw(link);
		return error;
	}
	return confirm(link, state);
}

static int post(struct ivshmem_link *link, u16 offset, unsigned int size, u64 value)
{
	ktime_t start = ktime_get();
	unsigned int try;
	int error = -EAGAIN;
	u64 took;

	lockdep_assert_held(&link->registers);
	for (try = 0; try < TRIES && error == -EAGAIN; try++)
		error = post_once(link, start, offset, size, value);
	took = ktime_us_delta(ktime_get(), start);
	link->transactions++;
	link->transaction_slowest_us = max(link->transaction_slowest_us, took);
	if (error)
		link->transaction_failures++;
	return error;
}

/*
 * A device that missed a transaction is not what its driver takes it for: it is registered anew later. Until then the
 * back-end is not asked again, or a driver with many queues would wait for each of them.
 */
int ivshmem_transact(struct ivshmem_link *link, u16 offset, unsigned int size, u64 value)
{
	int error;

	if (READ_ONCE(link->spoiled))
		return -ESTALE;
	error = post(link, offset, size, value);
	if (error && !READ_ONCE(link->detached)) {
		dev_warn_ratelimited(&link->adev.dev, "back-end did not take a write to register %#x (%d)\n", offset, error);
		WRITE_ONCE(link->spoiled, true);
	}
	return error;
}

/*
 * A reset must succeed even when nobody is there to carry it out: the new incarnation tells the back-end, when it
 * comes, to reset before it looks at anything else. Returns what kept the back-end from doing it now.
 */
int ivshmem_transact_reset(struct ivshmem_link *link)
{
	unsigned int try;
	int error = -EAGAIN;

	/* A back-end that sets NEEDS_RESET at the same moment may have overwritten ours. */
	for (try = 0; try < TRIES && error == -EAGAIN; try++) {
		error = post(link, HEADER_DEVICE_STATUS, sizeof(u32), 0);
		if (!error && shared_read8(link->window, HEADER_DEVICE_STATUS))
			error = -EAGAIN;
	}
	if (!error)
		return 0;
	ivshmem_new_incarnation(link);
	if (READ_ONCE(link->detached) || !ivshmem_peer_present(link))
		return error;
	ivshmem_ring_config(link);
	if (!ivshmem_wait_acknowledged(link))
		return 0;
	dev_warn_ratelimited(&link->adev.dev, "back-end is there but does not answer a reset\n");
	return error;
}
