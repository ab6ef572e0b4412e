// SPDX-License-Identifier: GPL-2.0-only
/* The module's own books, and the last look at them when it is unloaded. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/printk.h>
#include <linux/seq_file.h>

#include "accounting.h"

struct ivshmem_accounting ivshmem_accounting;

#define COUNT(name) ((long long)atomic64_read(&ivshmem_accounting.name))

static long long live_mappings(void)
{
	return COUNT(maps) - COUNT(unmaps) - COUNT(mappings_reclaimed);
}

void ivshmem_accounting_show(struct seq_file *file)
{
	seq_printf(file, "functions %lld\n", COUNT(functions));
	seq_printf(file, "links %lld\n", COUNT(links));
	seq_printf(file, "devices %lld\n", COUNT(devices));
	seq_printf(file, "registrations %lld\n", COUNT(registrations));
	seq_printf(file, "vectors_requested %lld\n", COUNT(vectors_requested));
	seq_printf(file, "vectors_freed %lld\n", COUNT(vectors_freed));
	seq_printf(file, "maps %lld\n", COUNT(maps));
	seq_printf(file, "unmaps %lld\n", COUNT(unmaps));
	seq_printf(file, "live_mappings %lld\n", live_mappings());
	seq_printf(file, "map_failures %lld\n", COUNT(map_failures));
	seq_printf(file, "coherent_allocated %lld\n", COUNT(coherent_allocated));
	seq_printf(file, "coherent_freed %lld\n", COUNT(coherent_freed));
	seq_printf(file, "mappings_reclaimed %lld\n", COUNT(mappings_reclaimed));
	seq_printf(file, "coherent_reclaimed %lld\n", COUNT(coherent_reclaimed));
}

/* All devices are gone: whatever is still out now has leaked. */
void ivshmem_accounting_conclude(void)
{
	long long mappings = live_mappings();
	long long vectors = COUNT(vectors_requested) - COUNT(vectors_freed);
	long long coherent = COUNT(coherent_allocated) - COUNT(coherent_freed) - COUNT(coherent_reclaimed);
	long long objects = COUNT(links) + COUNT(devices) + COUNT(functions);

	if (mappings || vectors || coherent || objects)
		pr_err("unloaded with leaks: mappings %lld, allocations %lld, vectors %lld, objects %lld\n", mappings,
		       coherent, vectors, objects);
	else
		pr_info("unloaded: %lld mappings (%lld forgotten by their drivers) and %lld vectors were taken and given back\n",
			COUNT(maps), COUNT(mappings_reclaimed), COUNT(vectors_requested));
}
