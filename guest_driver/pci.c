// SPDX-License-Identifier: GPL-2.0-only
/* The ivshmem-doorbell function: maps the region, takes what vectors there are, and follows the directory. */
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/module.h>

#include "accounting.h"
#include "directory.h"
#include "link.h"

#define BAR_REGISTERS 0
#define BAR_REGION 2
#define SCAN_MS 1000
#define SLOW_READ_NS 60

/* The least time one read takes. Cached memory answers in a few ns, also in an emulated guest; uncached far slower. */
static u64 read_time_ns(const u8 *region)
{
	u64 least = U64_MAX;
	unsigned int round, i;

	for (round = 0; round < 32; round++) {
		ktime_t start = ktime_get();

		for (i = 0; i < 64; i++)
			READ_ONCE(*(const u64 *)region);
		least = min_t(u64, least, ktime_to_ns(ktime_sub(ktime_get(), start)) / 64);
	}
	return least;
}

static void check_caching(struct ivshmem_function *function)
{
	u64 nanoseconds = read_time_ns(function->region);

	if (nanoseconds > SLOW_READ_NS)
		dev_warn(&function->pdev->dev,
			 "a read of the region takes %llu ns: it looks uncached, I/O will be slow (firmware may do this to a BAR below 4 GiB)\n",
			 nanoseconds);
}

/* Says what is wrong with the directory once, not every second. */
static void complain(struct ivshmem_function *function, int error)
{
	if (error == function->directory_complaint)
		return;
	function->directory_complaint = error;
	if (error == -EPROTO)
		dev_err_ratelimited(&function->pdev->dev, "the region's directory is not one this driver can use\n");
	else if (error)
		dev_info_ratelimited(&function->pdev->dev, "no directory in the region yet\n");
}

static bool overlaps(const struct ivshmem_entry *one, const struct ivshmem_entry *other)
{
	return one->offset < ivshmem_entry_end(other) && other->offset < ivshmem_entry_end(one);
}

/* Each link has memory of its own. This bounds their number, too. */
static bool has_place(struct ivshmem_function *function, const struct ivshmem_entry *entry)
{
	struct ivshmem_link *link;
	unsigned long index;

	xa_for_each(&function->links, index, link)
		if (overlaps(&link->entry, entry))
			return false;
	return true;
}

static void follow_entry(struct ivshmem_function *function, unsigned int index, const struct ivshmem_entry *entry)
{
	struct ivshmem_link *link = xa_load(&function->links, index);
	bool wanted = entry->state == ENTRY_STATE_IN_USE;
	int error;

	if (link && wanted && ivshmem_entry_same_place(&link->entry, entry)) {
		ivshmem_link_retarget(link, entry);
	} else if (link) {
		ivshmem_link_remove(link);
	} else if (wanted) {
		error = has_place(function, entry) ? ivshmem_link_create(function, index, entry) : -EADDRINUSE;
		if (error)
			dev_err_ratelimited(&function->pdev->dev, "link %u could not be made (%d)\n", index, error);
	}
}

static void scan(struct work_struct *work)
{
	struct ivshmem_function *function = container_of(to_delayed_work(work), struct ivshmem_function, scan);
	struct ivshmem_directory directory;
	struct ivshmem_entry entry;
	unsigned int index;
	int error;

	error = ivshmem_directory_read(function->region, function->region_size, &directory);
	complain(function, error);
	for (index = 0; !error && index < directory.link_count; index++) {
		int broken = ivshmem_entry_read(function->region, function->region_size, &directory, index, &entry);

		if (!broken)
			follow_entry(function, index, &entry);
		else if (broken == -EPROTO)
			dev_err_once(&function->pdev->dev, "link %u of the directory does not lie in the region\n", index);
	}
	queue_delayed_work(ivshmem_life_queue, &function->scan, msecs_to_jiffies(SCAN_MS));
}

static int map_registers(struct ivshmem_function *function)
{
	int error = pcim_iomap_regions(function->pdev, BIT(BAR_REGISTERS), KBUILD_MODNAME);

	if (!error)
		function->registers = pcim_iomap_table(function->pdev)[BAR_REGISTERS];
	return error;
}

/* Given back by hand: whether a region requested this way is given back with the device depends on the kernel. */
static int map_region(struct ivshmem_function *function)
{
	struct pci_dev *pdev = function->pdev;
	int error;

	function->region_size = pci_resource_len(pdev, BAR_REGION);
	if (function->region_size < LINK_ALIGNMENT) {
		dev_err(&pdev->dev, "no shared memory behind BAR %u\n", BAR_REGION);
		return -ENODEV;
	}
	error = pci_request_region(pdev, BAR_REGION, KBUILD_MODNAME);
	if (error)
		return error;
	function->region = memremap(pci_resource_start(pdev, BAR_REGION), function->region_size, MEMREMAP_WB);
	if (function->region)
		return 0;
	pci_release_region(pdev, BAR_REGION);
	return -ENOMEM;
}

static void unmap_region(struct ivshmem_function *function)
{
	memunmap(function->region);
	pci_release_region(function->pdev, BAR_REGION);
}

/* A function without interrupts works, slowly: everything is looked for by the clock then. */
static void take_vectors(struct ivshmem_function *function)
{
	struct pci_dev *pdev = function->pdev;
	int count = pci_msix_vec_count(pdev);

	if (count > 0)
		count = pci_alloc_irq_vectors(pdev, 1, count, PCI_IRQ_MSIX);
	if (count < 0)
		dev_warn(&pdev->dev, "no MSI-X vectors (%d)\n", count);
	function->vectors = max(count, 0);
}

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivshmem_function *function;
	int error;

	function = devm_kzalloc(&pdev->dev, sizeof(*function), GFP_KERNEL);
	if (!function)
		return -ENOMEM;
	function->pdev = pdev;
	xa_init(&function->links);
	INIT_DELAYED_WORK(&function->scan, scan);
	error = pcim_enable_device(pdev);
	if (error)
		return error;
	error = map_registers(function);
	if (error)
		return error;
	error = map_region(function);
	if (error)
		return error;
	pci_set_master(pdev);
	take_vectors(function);
	function->peer_id = ioread32(function->registers + REGISTER_IVPOSITION) & 0xffff;
	check_caching(function);
	dev_info(&pdev->dev, "region of %llu KiB, peer %u, %u vectors\n", function->region_size >> 10,
		 function->peer_id, function->vectors);
	pci_set_drvdata(pdev, function);
	atomic64_inc(&ivshmem_accounting.functions);
	queue_delayed_work(ivshmem_life_queue, &function->scan, 0);
	return 0;
}

/* All links at once: each may have to wait for its own back-end. */
static void remove_links(struct ivshmem_function *function)
{
	struct ivshmem_link *link;
	unsigned long index;

	xa_for_each(&function->links, index, link)
		ivshmem_link_remove(link);
	for (;;) {
		xa_lock(&function->links);
		index = 0;
		link = xa_find(&function->links, &index, ULONG_MAX, XA_PRESENT);
		if (link)
			get_device(&link->adev.dev);
		xa_unlock(&function->links);
		if (!link)
			break;
		flush_work(&link->removal);
		put_device(&link->adev.dev);
	}
}

static void ivshmem_remove(struct pci_dev *pdev)
{
	struct ivshmem_function *function = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&function->scan);
	remove_links(function);
	xa_destroy(&function->links);
	if (function->vectors)
		pci_free_irq_vectors(pdev);
	pci_clear_master(pdev);
	unmap_region(function);
	atomic64_dec(&ivshmem_accounting.functions);
}

static const struct pci_device_id ivshmem_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{}
};
MODULE_DEVICE_TABLE(pci, ivshmem_ids);

struct pci_driver ivshmem_pci_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
};
