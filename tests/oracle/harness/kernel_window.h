/* SPDX-License-Identifier: MIT */
/* Memory the kernel code allocates from, while it is the driver. One window at a time. */
#ifndef KERNEL_WINDOW_H
#define KERNEL_WINDOW_H

#include <stddef.h>

extern unsigned char *kernel_window;

/* Rings come from `rings` on, indirect tables from `tables` on; both end at `end`, all offsets in the window. */
void window_use(unsigned char *window, size_t rings, size_t tables, size_t end);
unsigned long window_offset(const void *address);
void *window_ring(size_t size);

/* While a chain is being added the kernel allocates indirect tables, which the device reads; else private state. */
extern int allocating_table;
void *window_or_private(size_t size);
void window_or_private_free(const void *address);

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *last_complaint(void);

#endif
