// SPDX-License-Identifier: GPL-2.0-only
/* The module's own books, and the last look at them when it is unloaded. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/printk.h>
#include <linux/seq_file.h>

#include "accounting.h"

struct ivshmem_accounting ivshmem_accounting;
DEFINE_PER_CPU(struct ivshmem_mapping_counts, ivshmem_mapping_counts);

#define COUNT(name) ((long long)atomic64_read(&ivshmem_accounting.name))

static struct ivshmem_mapping_counts mapping_counts(void)
{
	struct ivshmem_mapping_counts sum = {};
	int cpu;

	for_each_possible_cpu(cpu) {
		sum.maps += per_cpu(ivshmem_mapping_counts, cpu).maps;
		sum.unmaps += per_cpu(ivshmem_mapping_counts, cpu).unmaps;
	}
	return sum;
}

static long long live_mappings(const struct ivshmem_mapping_counts *counts)
{
	return counts->maps - counts->unmaps - COUNT(mappings_reclaimed);
}

void ivshmem_accounting_show(struct seq_file *file)
{
	struct ivshmem_mapping_counts counts = mapping_counts();

	seq_printf(file, "functions %lld\n", COUNT(functions));
	seq_printf(file, "links %lld\n", COUNT(links));
	seq_printf(file, "devices %lld\n", COUNT(devices));
	seq_printf(file, "registrations %lld\n", COUNT(registrations));
	seq_printf(file, "vectors_requested %lld\n", COUNT(vectors_requested));
	seq_printf(file, "vectors_freed %lld\n", COUNT(vectors_freed));
	seq_printf(file, "maps %llu\n", counts.maps);
	seq_printf(file, "unmaps %llu\n", counts.unmaps);
	seq_printf(file, "live_mappings %lld\n", live_mappings(&counts));
	seq_printf(file, "map_failures %lld\n", COUNT(map_failures));
	seq_printf(file, "coherent_allocated %lld\n", COUNT(coherent_allocated));
	seq_printf(file, "coherent_freed %lld\n", COUNT(coherent_freed));
	seq_printf(file, "mappings_reclaimed %lld\n", COUNT(mappings_reclaimed));
	seq_printf(file, "coherent_reclaimed %lld\n", COUNT(coherent_reclaimed));
}

/* All devices are gone: whatever is still out now has leaked. */
void ivshmem_accounting_conclude(void)
{
	struct ivshmem_mapping_counts counts = mapping_counts();
	long long mappings = live_mappings(&counts);
	long long vectors = COUNT(vectors_requested) - COUNT(vectors_freed);
	long long coherent = COUNT(coherent_allocated) - COUNT(coherent_freed) - COUNT(coherent_reclaimed);
	long long objects = COUNT(links) + COUNT(devices) + COUNT(functions);

	if (mappings || vectors || coherent || objects)
		pr_err("unloaded with leaks: mappings %lld, allocations %lld, vectors %lld, objects %lld\n", mappings,
		       coherent, vectors, objects);
	else
		pr_info("unloaded: %llu mappings (%lld forgotten by their drivers) and %lld vectors were taken and given back\n",
			counts.maps, COUNT(mappings_reclaimed), COUNT(vectors_requested));
}
