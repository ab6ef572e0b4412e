/* SPDX-License-Identifier: MIT */
/* What a thread that polls needs of processor and C library. */
#ifndef IVSHMEM_VIRTIO_PLANE_H
#define IVSHMEM_VIRTIO_PLANE_H

#include <stdint.h>
#include <time.h>

/* Between two looks at the same word: leaves the pipeline to the other thread of the core. */
static inline void iv_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* Nanoseconds of a clock that does not go back; no system call where the clock source allows that. */
static inline int64_t iv_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

#endif
