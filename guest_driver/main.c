// SPDX-License-Identifier: GPL-2.0-only
/* virtio over a static window of shared memory (ivshmem): the guest's side. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "accounting.h"
#include "debugfs.h"
#include "link.h"

struct workqueue_struct *ivshmem_watch_queue;
struct workqueue_struct *ivshmem_life_queue;

static int make_work_queues(void)
{
	/* Disks may hang on the watch, and freeing memory may hang on disks. */
	ivshmem_watch_queue = alloc_workqueue("ivshmem_watch", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ivshmem_watch_queue)
		return -ENOMEM;
	ivshmem_life_queue = alloc_workqueue("ivshmem_life", WQ_UNBOUND, 0);
	if (ivshmem_life_queue)
		return 0;
	destroy_workqueue(ivshmem_watch_queue);
	return -ENOMEM;
}

static void drop_work_queues(void)
{
	destroy_workqueue(ivshmem_life_queue);
	destroy_workqueue(ivshmem_watch_queue);
}

static int __init ivshmem_init(void)
{
	int error = make_work_queues();

	if (error)
		return error;
	ivshmem_debugfs_open();
	error = auxiliary_driver_register(&ivshmem_link_driver);
	if (error)
		goto no_link_driver;
	error = pci_register_driver(&ivshmem_pci_driver);
	if (error)
		goto no_pci_driver;
	return 0;

no_pci_driver:
	auxiliary_driver_unregister(&ivshmem_link_driver);
no_link_driver:
	ivshmem_debugfs_close();
	drop_work_queues();
	return error;
}

static void __exit ivshmem_exit(void)
{
	pci_unregister_driver(&ivshmem_pci_driver);
	auxiliary_driver_unregister(&ivshmem_link_driver);
	ivshmem_debugfs_close();
	drop_work_queues();
	ivshmem_accounting_conclude();
}

module_init(ivshmem_init);
module_exit(ivshmem_exit);
MODULE_DESCRIPTION("virtio over ivshmem shared memory windows");
MODULE_VERSION("1.0.0");
MODULE_LICENSE("GPL");
