/* SPDX-License-Identifier: MIT */
/* A front-end in user space, for guests without the kernel module: it polls, and needs nothing but sysfs. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "directory.h"
#include "link.h"
#include "patience.h"
#include "pci.h"
#include "report.h"

static const char usage_text[] =
	"usage: ivshmem-frontend [-d ADDRESS|FOLDER] [-s SECONDS] [-f] COMMAND\n"
	"  list                      links of the region, and whether their back-ends are there\n"
	"  blk NAME read SECTOR      read 512 bytes, print their SHA-256 and hexadecimal digits\n"
	"  blk NAME write SECTOR TEXT  write TEXT, filled up with zero bytes\n"
	"  console NAME echo TEXT    send a line, print the line that comes back\n"
	"  rng NAME COUNT            print random bytes\n"
	"NAME is the link's name or number. -d: PCI address, or a folder like those in /sys/bus/pci/devices.\n"
	"-s: how long to wait for anything (default 5). -f: take over a link whose front-end seems to be there.\n";

static bool take_over;

static _Noreturn void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static uint64_t number(const char *text, uint64_t most, const char *what)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 0);

	if (!*text || *text == '-' || *end || value > most)
		fail("%s %s: must be a number up to %" PRIu64, what, text, most);
	return value;
}

static void list(const struct ivshmem *ivshmem, const struct directory *directory)
{
	struct entry entry;
	struct link link;

	printf("peer %" PRIu32 ", region of %" PRIu64 " bytes\n", ivshmem->peer_id, directory->region_size);
	for (uint32_t i = 0; i < directory->links; i++) {
		if (!directory_entry(directory, i, &entry))
			continue;
		link_open(&link, ivshmem, &entry);
		printf("link %" PRIu32 " %s %s id %" PRIu32 " window %" PRIu64 " at 0x%" PRIx64 " back-end peer %" PRIu32
		       " state %" PRIu32 "\n",
		       i, entry.name, device_type(entry.device_id), entry.device_id, entry.rw_size, entry.offset,
		       entry.backend_peer, link_backend_state(&link));
	}
}

static void bring_up(struct link *link, const struct ivshmem *ivshmem, const struct directory *directory,
		     const char *name, uint32_t device_id)
{
	struct entry entry;

	directory_find(directory, name, &entry);
	if (entry.device_id != device_id)
		fail("link %s carries a %s (id %" PRIu32 "), not a %s", entry.name, device_type(entry.device_id),
		     entry.device_id, device_type(device_id));
	link_open(link, ivshmem, &entry);
	link_bring_up(link, take_over);
}

static void run(const struct ivshmem *ivshmem, const struct directory *directory, int count, char **words)
{
	/* The link is left at exit, so it must outlive this function. */
	static struct link link;

	if (count == 1 && !strcmp(words[0], "list")) {
		list(ivshmem, directory);
	} else if (count == 4 && !strcmp(words[0], "blk") && !strcmp(words[2], "read")) {
		uint64_t sector = number(words[3], UINT64_MAX / 512, "sector");

		bring_up(&link, ivshmem, directory, words[1], DEVICE_BLK);
		blk_read(&link, sector);
	} else if (count == 5 && !strcmp(words[0], "blk") && !strcmp(words[2], "write")) {
		uint64_t sector = number(words[3], UINT64_MAX / 512, "sector");

		bring_up(&link, ivshmem, directory, words[1], DEVICE_BLK);
		blk_write(&link, sector, words[4]);
	} else if (count == 4 && !strcmp(words[0], "console") && !strcmp(words[2], "echo")) {
		bring_up(&link, ivshmem, directory, words[1], DEVICE_CONSOLE);
		console_echo(&link, words[3]);
	} else if (count == 3 && !strcmp(words[0], "rng")) {
		uint32_t wanted = (uint32_t)number(words[2], 1u << 20, "count");

		bring_up(&link, ivshmem, directory, words[1], DEVICE_RNG);
		rng_draw(&link, wanted);
	} else {
		usage();
	}
}

int main(int count, char **words)
{
	struct ivshmem ivshmem;
	struct directory directory;
	const char *chosen = NULL;
	int option;

	while ((option = getopt(count, words, "+d:s:f")) != -1) {
		if (option == 'd')
			chosen = optarg;
		else if (option == 's')
			patience_seconds = (double)number(optarg, 3600, "seconds");
		else if (option == 'f')
			take_over = true;
		else
			usage();
	}
	if (optind == count)
		usage();
	patience_catch_signals();
	pci_open(&ivshmem, chosen);
	directory_open(&directory, &ivshmem.region);
	run(&ivshmem, &directory, count - optind, words + optind);
	return 0;
}
