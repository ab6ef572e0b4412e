/* SPDX-License-Identifier: GPL-2.0-only */
/* One link: one virtio device, a child of the PCI function on the auxiliary bus. */
#ifndef VIRTIO_IVSHMEM_LINK_H
#define VIRTIO_IVSHMEM_LINK_H

#include <linux/auxiliary_bus.h>
#include <linux/device.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/workqueue.h>

#include "directory.h"
#include "function.h"
#include "peer.h"
#include "placement.h"
#include "pool.h"
#include "standin.h"

struct ivshmem_queue;

/* What the link is about. The watch moves it on, except where the registering work has been asked to. */
enum ivshmem_phase {
	PHASE_WAITING,		/* for a back-end */
	PHASE_GREETING,		/* own line written, own state 1; waiting for the acknowledgement */
	PHASE_REGISTERING,	/* the registering work is at it */
	PHASE_ONLINE,		/* the virtio device is registered */
	PHASE_RENEWING,		/* the registering work takes the device away */
};

struct ivshmem_device {
	struct virtio_device vdev;
	struct ivshmem_link *link;
};

struct ivshmem_signals {
	u64 notifications;
	u64 kicks;
	u64 interrupts;
	u64 idle_interrupts;
};

struct ivshmem_link {
	struct auxiliary_device adev;
	struct ivshmem_function *function;
	unsigned int index;		/* in the directory */
	struct ivshmem_entry entry;	/* other side's peer and vectors may change, the rest never */
	u8 *state_table;
	u8 *window;
	u64 dma_mask;
	struct device_dma_parameters dma_parms;
	unsigned int vectors;		/* own vectors; 0 = shares vector 0 of the function */
	bool config_vector_requested;

	struct ivshmem_peer peer;
	u64 incarnation;
	u32 own_state;			/* what our State Table entry should read */
	u32 heartbeat;

	enum ivshmem_phase phase;
	unsigned long not_before;	/* jiffies: no new attempt at the device earlier than this */
	bool removing;			/* the auxiliary driver's remove is running */
	bool asleep;			/* the system is: the device is frozen */
	bool detached;			/* the device belongs to an epoch that is over: nothing reaches the peer */
	const char *distrust;		/* what rule the back-end broke: nothing more is taken from it */
	unsigned int distrust_queue;
	bool spoiled;			/* a transaction failed: register anew once the back-end answers */

	struct mutex life;		/* registering, unregistering, sleep and wake-up */
	struct delayed_work watch;
	struct work_struct registration;
	struct work_struct removal;
	struct work_struct pacing;
	bool removal_queued;
	struct ivshmem_device *registered;

	struct mutex registers;		/* one sequence of transactions at a time */
	u32 transaction_sequence;
	bool event_index;		/* the back-end offers it */
	u8 status;			/* virtio device status, kept here so that it needs nobody's answer */
	u32 generation_seen;
	u32 generation_given;
	unsigned int generation_moves;

	struct mutex table;		/* queues, queue_count: not held while waiting for anything */
	struct ivshmem_queue *queues;
	unsigned int queue_count;
	spinlock_t event_lock;		/* event_target */
	struct virtio_device *event_target;	/* told about configuration changes */

	spinlock_t standin_lock;	/* passes of the stand-in; away */
	struct ivshmem_away away;
	bool give_up;			/* the administrator wants no more waiting for the back-end that is away */
	bool unanswered;		/* the back-end was there and did not answer: still to be said */
	u64 standin_passes;
	u64 dropped;			/* outputs that the stand-in took for done */
	u64 refused;			/* requests that it answered with an error */
	u64 orphans;			/* outputs that their writers had left in the ring of a device that went */

	struct ivshmem_pool pool;
	u32 request_segments;		/* of a block device: the most in one request, as its driver was told */
	struct ivshmem_placement placement;

	u64 transactions;
	u64 transaction_failures;
	u64 transaction_slowest_us;
	atomic64_t config_interrupts;
	struct ivshmem_signals done;	/* by queues that are gone */
	u64 absent_total_ms;
	u64 settled;			/* requests answered with an error on behalf of a lost back-end */
	u32 absences;
	u32 registrations;
	struct dentry *debug;
};

extern struct auxiliary_driver ivshmem_link_driver;

static inline struct ivshmem_link *ivshmem_link_of(struct device *dev)
{
	return container_of(to_auxiliary_dev(dev), struct ivshmem_link, adev);
}

static inline struct ivshmem_link *ivshmem_link_of_vdev(struct virtio_device *vdev)
{
	return container_of(vdev, struct ivshmem_device, vdev)->link;
}

int ivshmem_link_create(struct ivshmem_function *function, unsigned int index, const struct ivshmem_entry *entry);
void ivshmem_link_retarget(struct ivshmem_link *link, const struct ivshmem_entry *entry);
void ivshmem_link_remove(struct ivshmem_link *link);

/* registration.c */
void ivshmem_registration(struct work_struct *work);
void ivshmem_unregister(struct ivshmem_link *link);

/* watch.c */
void ivshmem_watch(struct work_struct *work);
void ivshmem_watch_now(struct ivshmem_link *link);
void ivshmem_link_distrust(struct ivshmem_link *link, unsigned int queue, const char *why);

/* power.c */
extern const struct dev_pm_ops ivshmem_power_ops;

/* dma_ops.c or map_ops.c, as the kernel has it */
int ivshmem_mapping_attach(struct ivshmem_link *link);
void ivshmem_mapping_adopt(struct virtio_device *vdev);

/* virtio_ops.c */
extern const struct virtio_config_ops ivshmem_virtio_ops;

#endif
