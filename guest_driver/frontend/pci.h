/* SPDX-License-Identifier: MIT */
/* The ivshmem v1 function (1af4:1110) as sysfs shows it: no driver of the kernel is needed. */
#ifndef PCI_H
#define PCI_H

#include <stdint.h>

#include "window.h"

struct ivshmem {
	char folder[256];		/* in sysfs */
	volatile uint32_t *registers;	/* BAR0 */
	struct window region;		/* BAR2 */
	uint32_t peer_id;
};

/*
 * Find, enable and map a function. `chosen`: a PCI address, a folder like those of sysfs, or NULL for the only one
 * there is.
 */
void pci_open(struct ivshmem *ivshmem, const char *chosen);

/* Interrupt vector `vector` of peer `peer`; everything stored before is visible to it then. */
void pci_ring(const struct ivshmem *ivshmem, uint32_t peer, uint32_t vector);

#endif
