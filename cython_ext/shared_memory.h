/* SPDX-License-Identifier: MIT */
/* Every access to memory that another, untrusted, program changes at the same time.
 *
 * Each function is one access of the stated width that the compiler may neither split nor repeat, so a value that was
 * checked is the value that is used. */
#ifndef IVSHMEM_VIRTIO_SHARED_MEMORY_H
#define IVSHMEM_VIRTIO_SHARED_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "everything in the window is little endian; this build has no byte swapping"
#endif

#define IV_ACCESSORS(bits)                                                        \
    static inline uint##bits##_t iv_load##bits(const void *address)               \
    {                                                                             \
        return __atomic_load_n((const uint##bits##_t *)address, __ATOMIC_ACQUIRE); \
    }                                                                             \
    static inline void iv_store##bits(void *address, uint##bits##_t value)        \
    {                                                                             \
        __atomic_store_n((uint##bits##_t *)address, value, __ATOMIC_RELEASE);     \
    }

IV_ACCESSORS(8)
IV_ACCESSORS(16)
IV_ACCESSORS(32)
IV_ACCESSORS(64)

static inline bool iv_compare_exchange32(void *address, uint32_t expected, uint32_t desired)
{
    return __atomic_compare_exchange_n((uint32_t *)address, &expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* Orders everything before against everything after, stores against later loads included. */
static inline void iv_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* One descriptor in private memory (virtio 1.4, 2.7.5). */
struct iv_descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

/* An indirect table may start at any offset, so the two halves of a descriptor are not always aligned. */
typedef uint64_t iv_anywhere64 __attribute__((aligned(1), may_alias));

static inline void iv_load_descriptor(const void *address, struct iv_descriptor *copy)
{
    const volatile iv_anywhere64 *half = (const volatile iv_anywhere64 *)address;
    uint64_t rest;

    copy->address = half[0];
    rest = half[1];
    copy->length = (uint32_t)rest;
    copy->flags = (uint16_t)(rest >> 32);
    copy->next = (uint16_t)(rest >> 48);
}

static inline void iv_store_descriptor(void *address, const struct iv_descriptor *copy)
{
    volatile iv_anywhere64 *half = (volatile iv_anywhere64 *)address;

    half[0] = copy->address;
    half[1] = copy->length | (uint64_t)copy->flags << 32 | (uint64_t)copy->next << 48;
}

/* 24 bytes from anywhere, each word read once. */
static inline void iv_load_words(uint64_t *copy, const void *address)
{
    const volatile iv_anywhere64 *words = (const volatile iv_anywhere64 *)address;

    copy[0] = words[0];
    copy[1] = words[1];
    copy[2] = words[2];
}

/* Only a hint; any address will do. */
static inline void iv_prefetch(const void *address)
{
    __builtin_prefetch(address);
}

#endif
