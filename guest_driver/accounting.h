/* SPDX-License-Identifier: GPL-2.0-only */
/* Counts of the whole module. They outlive links, so that a test can see what was taken and not given back. */
#ifndef VIRTIO_IVSHMEM_ACCOUNTING_H
#define VIRTIO_IVSHMEM_ACCOUNTING_H

#include <linux/atomic.h>
#include <linux/percpu.h>

struct seq_file;

struct ivshmem_accounting {
	atomic64_t functions;		/* PCI functions bound now */
	atomic64_t links;		/* link objects in memory now */
	atomic64_t devices;		/* virtio devices in memory now */
	atomic64_t registrations;	/* virtio devices ever registered */
	atomic64_t vectors_requested;
	atomic64_t vectors_freed;
	atomic64_t map_failures;
	atomic64_t coherent_allocated;
	atomic64_t coherent_freed;
	atomic64_t mappings_reclaimed;	/* still out when their pool was closed: their driver forgot them */
	atomic64_t coherent_reclaimed;
};

/* Counted for each request, so each CPU has its own. */
struct ivshmem_mapping_counts {
	u64 maps;
	u64 unmaps;
};

extern struct ivshmem_accounting ivshmem_accounting;
DECLARE_PER_CPU(struct ivshmem_mapping_counts, ivshmem_mapping_counts);

void ivshmem_accounting_show(struct seq_file *file);
void ivshmem_accounting_conclude(void);

#endif
