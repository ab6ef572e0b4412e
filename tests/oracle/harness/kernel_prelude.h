/* SPDX-License-Identifier: MIT */
/* Included ahead of the kernel's virtio_ring.c: its rings and indirect tables come from our window, a physical address
 * is an offset in the window, and what it complains of is kept instead of printed. */
#ifndef KERNEL_PRELUDE_H
#define KERNEL_PRELUDE_H

#include <linux/kernel.h>
#include <linux/dma-mapping.h>

#include "kernel_window.h"

#undef virt_to_phys
#undef page_to_phys
#undef dev_err
#undef dev_warn
#define virt_to_phys(p) window_offset(p)
#define page_to_phys(p) ((dma_addr_t)window_offset(p))
#define alloc_pages_exact(size, gfp) window_ring(size)
#define free_pages_exact(p, size) ((void)(p))
#define kmalloc_array(n, size, gfp) window_or_private((n) * (size))
#define kfree(p) window_or_private_free(p)
#define dev_err(device, ...) complain(__VA_ARGS__)
#define dev_warn(device, ...) complain(__VA_ARGS__)

#endif
