/* SPDX-License-Identifier: MIT */
/* One step of a busy wait. */
#ifndef IVSHMEM_VIRTIO_BENCH_PAUSE_H
#define IVSHMEM_VIRTIO_BENCH_PAUSE_H

#include <stdint.h>

static inline void bench_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t bench_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void bench_store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif
