// SPDX-License-Identifier: GPL-2.0-only
/*
 * A console that gets another size has its terminal told so by a work item, and nobody waits for that item when the
 * console goes: its memory is freed with the item still queued. What leads to it is another work item, of the console's
 * driver. Both are on the kernel's common queue, which begins what it has on a processor in its order: when an item of
 * ours has had its turn, those before it have begun. So two rounds see both off.
 */
#include <linux/cpu.h>
#include <linux/workqueue.h>

#include "stragglers.h"

#define ROUNDS 2

static void take_turn(struct work_struct *work)
{
}

static void wait_on(int cpu)
{
	struct work_struct work;

	INIT_WORK_ONSTACK(&work, take_turn);
	schedule_work_on(cpu, &work);
	flush_work(&work);
	destroy_work_on_stack(&work);
}

/* When nothing that could set off more of it reaches the driver: after a reset, or between two messages (pacing.c). */
void ivshmem_stragglers_await(void)
{
	int round, cpu;

	cpus_read_lock();
	for (round = 0; round < ROUNDS; round++)
		for_each_online_cpu(cpu)
			wait_on(cpu);
	cpus_read_unlock();
}
