// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sleep and wake-up. The auxiliary bus calls .driver.pm only. The window keeps its contents over sleep but not over
 * hibernation, and the back-end may be another one afterwards: waking up is a greeting followed by virtio's restore.
 */
#include <linux/delay.h>
#include <linux/pm.h>
#include <linux/virtio.h>

#include "link.h"
#include "transaction.h"

/* Kernels that never sleep have nothing to do this with. */
#ifdef CONFIG_PM_SLEEP

#define WAKE_LIMIT_MS 2000
#define WAKE_STEP_MS 10

static void let_go(struct ivshmem_link *link)
{
	cancel_delayed_work_sync(&link->watch);
	ivshmem_set_own_state(link, STATE_ABSENT);
}

static int link_suspend(struct device *dev)
{
	struct ivshmem_link *link = ivshmem_link_of(dev);
	int error = 0;

	if (!mutex_trylock(&link->life))
		return -EBUSY;	/* the device is just being registered or taken away */
	WRITE_ONCE(link->asleep, true);
	if (link->registered)
		error = virtio_device_freeze(&link->registered->vdev);
	if (error)
		WRITE_ONCE(link->asleep, false);
	else
		let_go(link);
	mutex_unlock(&link->life);
	return error;
}

static int find_backend(struct ivshmem_link *link, struct ivshmem_header *header)
{
	unsigned int waited;

	for (waited = 0; waited < WAKE_LIMIT_MS; waited += WAKE_STEP_MS) {
		if (ivshmem_peer_look(link, header) != PRESENCE_ABSENT)
			return 0;
		msleep(WAKE_STEP_MS);
	}
	return -ENOTCONN;
}

static int wake_device(struct ivshmem_link *link)
{
	struct ivshmem_header header;
	int error;

	error = find_backend(link, &header);
	if (error)
		return error;
	if (header.size > link->peer.header.size)
		return -EPROTO;	/* its registers would lie over the driver's room */
	link->peer.header = header;
	WRITE_ONCE(link->spoiled, false);
	link->peer.presence = PRESENCE_READY;
	ivshmem_choose_incarnation(link);
	ivshmem_write_own_line(link);
	ivshmem_set_own_state(link, STATE_READY);
	error = ivshmem_wait_acknowledged(link);
	return error ? error : virtio_device_restore(&link->registered->vdev);
}

static int link_resume(struct device *dev)
{
	struct ivshmem_link *link = ivshmem_link_of(dev);
	int error = 0;

	mutex_lock(&link->life);
	link->peer.heartbeat_at = jiffies;
	if (link->registered)
		error = wake_device(link);
	else
		WRITE_ONCE(link->phase, PHASE_WAITING);
	if (error)
		dev_err(dev, "the device could not be woken (%d)\n", error);
	WRITE_ONCE(link->asleep, false);
	mutex_unlock(&link->life);
	ivshmem_watch_now(link);
	return error;
}

const struct dev_pm_ops ivshmem_power_ops = {
	SYSTEM_SLEEP_PM_OPS(link_suspend, link_resume)
};

#endif
