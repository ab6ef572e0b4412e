/* SPDX-License-Identifier: MIT */
/* The kernel's virtio_ring.c behind plain C types: no kernel header is needed to use it. */
#ifndef KERNEL_DRIVER_H
#define KERNEL_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "requests.h"

struct kernel_driver;

struct kernel_driver *kernel_driver_new(unsigned size, bool packed, bool indirect, bool event_idx);
void kernel_driver_delete(struct kernel_driver *driver);
uint64_t kernel_driver_desc(struct kernel_driver *driver);
uint64_t kernel_driver_avail(struct kernel_driver *driver);
uint64_t kernel_driver_used(struct kernel_driver *driver);

/* Non-zero when the ring has no room. */
int kernel_driver_add(struct kernel_driver *driver, const struct piece *pieces, unsigned readable, unsigned writable,
                      void *token);
bool kernel_driver_kick(struct kernel_driver *driver); /* whether the device wants a notification */
void *kernel_driver_get(struct kernel_driver *driver, unsigned *written);
bool kernel_driver_enable(struct kernel_driver *driver); /* false: look again, chains came back */
bool kernel_driver_broken(struct kernel_driver *driver);

/* Send `total` random requests, up to `burst` at a time, and check each answer; NULL or what went wrong. */
const char *kernel_driver_run(struct kernel_driver *driver, unsigned size, uint64_t first_request, uint64_t total,
                              unsigned burst, uint64_t seed, int kick, int call, uint64_t *digest);

#endif
