/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes to the header that the back-end has to act on (docs/protocol.md, section 5). */
#ifndef VIRTIO_IVSHMEM_TRANSACTION_H
#define VIRTIO_IVSHMEM_TRANSACTION_H

#include <linux/types.h>

struct ivshmem_link;

int ivshmem_transact(struct ivshmem_link *link, u16 offset, unsigned int size, u64 value);
int ivshmem_transact_reset(struct ivshmem_link *link);
int ivshmem_wait_acknowledged(struct ivshmem_link *link);

#endif
