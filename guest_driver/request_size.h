/* SPDX-License-Identifier: GPL-2.0-only */
/* How large a block device's requests may become. */
#ifndef VIRTIO_IVSHMEM_REQUEST_SIZE_H
#define VIRTIO_IVSHMEM_REQUEST_SIZE_H

#include <linux/types.h>

struct ivshmem_link;

bool ivshmem_request_fits(const struct ivshmem_link *link);
u32 ivshmem_request_segments(struct ivshmem_link *link, u32 offered);
u64 ivshmem_request_piece(const struct ivshmem_link *link);

#endif
