/* SPDX-License-Identifier: GPL-2.0-only */
/* What is known of a link's back-end: its header, its epoch, whether it is there. */
#ifndef VIRTIO_IVSHMEM_PEER_H
#define VIRTIO_IVSHMEM_PEER_H

#include <linux/types.h>

struct ivshmem_link;

/* A checked copy of what a back-end says about itself. */
struct ivshmem_header {
	u32 revision;
	u32 size;
	u32 config_length;
	u32 extension;			/* window offset, 0 = revision 1 */
	u32 extension_length;
	u32 capabilities;		/* of both sides */
	u64 epoch;
	u64 session;
	u16 config_vector;
	u16 queue_count;
};

enum ivshmem_presence {
	PRESENCE_ABSENT,
	PRESENCE_RESUMING,
	PRESENCE_READY,
};

struct ivshmem_peer {
	struct ivshmem_header header;	/* of the back-end that the device belongs to */
	enum ivshmem_presence presence;	/* as the watch last found it */
	u32 seen_state;
	bool stalled;			/* heartbeat still for too long */
	bool complained;		/* about a header that cannot be used */
	u32 heartbeat;
	unsigned long heartbeat_at;	/* jiffies of its last change */
	unsigned long absent_since;	/* jiffies; valid while absent */
	bool long_absence_told;
};

u32 ivshmem_peer_state(const struct ivshmem_link *link);
bool ivshmem_peer_present(const struct ivshmem_link *link);
bool ivshmem_peer_is_ours(const struct ivshmem_link *link);
u64 ivshmem_peer_epoch(const struct ivshmem_link *link);
bool ivshmem_peer_acknowledged(const struct ivshmem_link *link);
bool ivshmem_peer_can(const struct ivshmem_link *link, u32 capability);
bool ivshmem_peer_absent_for(const struct ivshmem_link *link, unsigned int milliseconds);
unsigned int ivshmem_peer_absence(const struct ivshmem_link *link);
int ivshmem_peer_read_header(const struct ivshmem_link *link, struct ivshmem_header *header);
enum ivshmem_presence ivshmem_peer_look(struct ivshmem_link *link, struct ivshmem_header *header);

void ivshmem_set_own_state(struct ivshmem_link *link, u32 state);
void ivshmem_restore_own_state(struct ivshmem_link *link);
void ivshmem_choose_incarnation(struct ivshmem_link *link);
void ivshmem_new_incarnation(struct ivshmem_link *link);
void ivshmem_write_own_line(struct ivshmem_link *link);
void ivshmem_beat(struct ivshmem_link *link);
void ivshmem_ring_config(struct ivshmem_link *link);
u32 ivshmem_doorbell(const struct ivshmem_link *link, u16 vector);

#endif
