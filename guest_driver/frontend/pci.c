/* SPDX-License-Identifier: MIT */
#include "pci.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "report.h"

#define DEVICES "/sys/bus/pci/devices"
#define VENDOR 0x1af4
#define DEVICE 0x1110

static void path_of(char *path, size_t size, const char *folder, const char *name)
{
	if (snprintf(path, size, "%s/%s", folder, name) >= (int)size)
		fail("the path %s/%s is too long", folder, name);
}

static bool read_text(const char *folder, const char *name, char *text, size_t size)
{
	char path[512];
	ssize_t length;
	int file;

	path_of(path, sizeof(path), folder, name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	length = read(file, text, size - 1);
	close(file);
	if (length < 0)
		return false;
	text[length] = 0;
	return true;
}

static bool is_ivshmem(const char *folder)
{
	char text[32];

	return read_text(folder, "vendor", text, sizeof(text)) && strtoul(text, NULL, 16) == VENDOR &&
	       read_text(folder, "device", text, sizeof(text)) && strtoul(text, NULL, 16) == DEVICE;
}

static void find_only_one(char *folder, size_t size)
{
	char candidate[512];
	struct dirent *entry;
	unsigned int found = 0;
	DIR *devices = opendir(DEVICES);

	if (!devices)
		fail("cannot look into %s: %s; is sysfs mounted?", DEVICES, strerror(errno));
	while ((entry = readdir(devices))) {
		path_of(candidate, sizeof(candidate), DEVICES, entry->d_name);
		if (entry->d_name[0] == '.' || !is_ivshmem(candidate))
			continue;
		path_of(folder, size, DEVICES, entry->d_name);
		found++;
	}
	closedir(devices);
	if (found == 0)
		fail("no PCI device 1af4:1110 in %s; give the guest an ivshmem-doorbell device", DEVICES);
	if (found > 1)
		fail("%u PCI devices 1af4:1110; choose one with -d ADDRESS", found);
}

static void refuse_bound(const char *folder)
{
	char path[512], target[256];
	const char *driver;
	ssize_t length;

	path_of(path, sizeof(path), folder, "driver");
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return;
	target[length] = 0;
	driver = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
	/* That one only forwards interrupts, and leaves the device alone. */
	if (strcmp(driver, "uio_pci_generic"))
		fail("%s is bound to the kernel driver %s; unload that first", folder, driver);
}

static void enable(const char *folder)
{
	char path[512], text[16];
	int file;

	/* The kernel counts how often a device was enabled. */
	if (read_text(folder, "enable", text, sizeof(text)) && strtoul(text, NULL, 10))
		return;
	path_of(path, sizeof(path), folder, "enable");
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, "1", 1) != 1)
		fail("cannot enable the device through %s: %s", path, strerror(errno));
	close(file);
}

/* Start of BAR0 within its page: a BAR smaller than a page need not begin one. */
static uint64_t start_in_page(const char *folder)
{
	char text[64];

	if (!read_text(folder, "resource", text, sizeof(text)))
		fail("cannot read %s/resource", folder);
	return strtoull(text, NULL, 16) % PAGE_BYTES;
}

static void *map_resource(const char *folder, const char *name, uint64_t *length)
{
	char path[512];
	struct stat status;
	void *memory;
	int file;

	path_of(path, sizeof(path), folder, name);
	file = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (file < 0 || fstat(file, &status) < 0)
		fail("cannot open %s: %s; this needs root", path, strerror(errno));
	*length = (uint64_t)status.st_size;
	if (*length == 0)
		fail("%s is empty: the device has no such memory", path);
	memory = mmap(NULL, (size_t)((*length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES), PROT_READ | PROT_WRITE,
		      MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		fail("cannot map %s: %s", path, strerror(errno));
	close(file);
	return memory;
}

void pci_open(struct ivshmem *ivshmem, const char *chosen)
{
	uint64_t length, start;
	unsigned char *registers;

	if (!chosen)
		find_only_one(ivshmem->folder, sizeof(ivshmem->folder));
	else if (strchr(chosen, '/'))
		path_of(ivshmem->folder, sizeof(ivshmem->folder), chosen, ".");
	else
		path_of(ivshmem->folder, sizeof(ivshmem->folder), DEVICES, chosen);
	if (!is_ivshmem(ivshmem->folder))
		fail("%s is not a PCI device 1af4:1110", ivshmem->folder);
	refuse_bound(ivshmem->folder);
	enable(ivshmem->folder);
	start = start_in_page(ivshmem->folder);
	registers = map_resource(ivshmem->folder, "resource0", &length);
	if (length < REGISTERS_BYTES)
		fail("BAR0 of %s has %" PRIu64 " bytes, ivshmem has 256", ivshmem->folder, length);
	ivshmem->registers = (volatile uint32_t *)(registers + start);
	ivshmem->region.base = map_resource(ivshmem->folder, "resource2", &ivshmem->region.length);
	ivshmem->region.name = "region";
	ivshmem->peer_id = le32toh(ivshmem->registers[REGISTER_POSITION / 4]);
	if (ivshmem->peer_id > 0xffff)
		fail("own peer id is %" PRIu32 ": the device is not connected to its server", ivshmem->peer_id);
}

void pci_ring(const struct ivshmem *ivshmem, uint32_t peer, uint32_t vector)
{
#ifdef __aarch64__
	/* The store to the device must not overtake stores to memory: they are of different kinds here. */
	__asm__ volatile("dsb st" ::: "memory");
#endif
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ivshmem->registers[REGISTER_DOORBELL / 4] = htole32(peer << 16 | vector);
}
