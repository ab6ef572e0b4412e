/* SPDX-License-Identifier: MIT */
/* The kernel's vringh.c, the device side the kernel itself uses, behind plain C types. */
#ifndef KERNEL_DEVICE_H
#define KERNEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel_device;

struct kernel_device *kernel_device_new(unsigned char *window, size_t length, unsigned size, uint64_t desc,
                                        uint64_t avail, uint64_t used, bool event_idx);
void kernel_device_delete(struct kernel_device *device);

/* Answer one request: 1, or 0 when there is none, or a negative errno when the kernel refuses what the driver did. */
int kernel_device_serve_one(struct kernel_device *device);

/* Answer `total` requests, up to `burst` at a time; NULL or what went wrong. */
const char *kernel_device_run(struct kernel_device *device, uint64_t total, unsigned burst, uint64_t seed, int kick, int call,
                              uint64_t *digest);

#endif
