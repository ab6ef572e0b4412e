/* SPDX-License-Identifier: MIT */
/* io_uring by way of liburing, as far as an image needs it: transfers, flushes and fallocate on a descriptor that is
 * open anyway. Built without liburing, every ring fails to open with ENOSYS. Functions return -errno. */
#ifndef IVSHMEM_VIRTIO_URING_H
#define IVSHMEM_VIRTIO_URING_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

struct iovec;

/* One operation. `vectors` are read by the kernel while it is submitted; what they name is in use until it is done. */
struct iv_uring_wish {
    uint8_t opcode;
    int fd;
    uint32_t count;             /* of vectors */
    const struct iovec *vectors;
    uint64_t offset;
    uint64_t length;            /* of fallocate */
    uint32_t flags;             /* RWF_*, IORING_FSYNC_*, or the mode of fallocate */
};

struct iv_uring_done {
    uint64_t tag;
    int32_t result;
};

#ifdef IV_HAVE_URING

#include <liburing.h>
#include <string.h>

struct iv_uring {
    struct io_uring ring;
};

enum {
    IV_URING_READV = IORING_OP_READV,
    IV_URING_WRITEV = IORING_OP_WRITEV,
    IV_URING_FSYNC = IORING_OP_FSYNC,
    IV_URING_FALLOCATE = IORING_OP_FALLOCATE,
};

/* For good: these operations and no others, without flags, and nothing to be registered any more. io_uring passes by
 * seccomp, so this is what a process that was taken over has left of it. */
static inline int iv_uring_restrict(struct iv_uring *uring)
{
    static const uint8_t allowed[] = {IV_URING_READV, IV_URING_WRITEV, IV_URING_FSYNC, IV_URING_FALLOCATE};
    struct io_uring_restriction rules[sizeof(allowed)];
    unsigned i;
    int error;

    memset(rules, 0, sizeof(rules));
    for (i = 0; i < sizeof(allowed); i++) {
        rules[i].opcode = IORING_RESTRICTION_SQE_OP;
        rules[i].sqe_op = allowed[i];
    }
    error = io_uring_register_restrictions(&uring->ring, rules, sizeof(allowed));
    return error ? error : io_uring_enable_rings(&uring->ring);
}

static inline int iv_uring_open(struct iv_uring *uring, unsigned entries)
{
    struct io_uring_params parameters;
    int error;

    memset(&parameters, 0, sizeof(parameters));
    parameters.flags = IORING_SETUP_R_DISABLED;
    error = io_uring_queue_init_params(entries, &uring->ring, &parameters);
    if (error)
        return error;
    error = iv_uring_restrict(uring);
    if (error)
        io_uring_queue_exit(&uring->ring);
    return error;
}

static inline void iv_uring_close(struct iv_uring *uring)
{
    io_uring_queue_exit(&uring->ring);
}

static inline int iv_uring_fd(const struct iv_uring *uring)
{
    return uring->ring.ring_fd;
}

/* False: there is no room. Nothing happens before it is submitted. */
static inline bool iv_uring_queue(struct iv_uring *uring, const struct iv_uring_wish *wish, uint64_t tag)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);

    if (!entry)
        return false;
    memset(entry, 0, sizeof(*entry));
    entry->opcode = wish->opcode;
    entry->fd = wish->fd;
    entry->off = wish->offset;
    /* fallocate has its length where transfers have their vectors, and its mode where they have their count. */
    if (wish->opcode == IV_URING_FALLOCATE) {
        entry->addr = wish->length;
        entry->len = wish->flags;
    } else {
        entry->addr = wish->count ? (uintptr_t)wish->vectors : 0;
        entry->len = wish->count;
        entry->rw_flags = (int)wish->flags;
    }
    entry->user_data = tag;
    return true;
}

static inline unsigned iv_uring_queued(const struct iv_uring *uring)
{
    return io_uring_sq_ready(&uring->ring);
}

static inline int iv_uring_submit(struct iv_uring *uring)
{
    return io_uring_submit(&uring->ring);
}

/* Submits as well; returns when something is done. */
static inline int iv_uring_wait(struct iv_uring *uring)
{
    return io_uring_submit_and_wait(&uring->ring, 1);
}

static inline bool iv_uring_something_done(const struct iv_uring *uring)
{
    return io_uring_cq_ready(&uring->ring) != 0;
}

/* How many are done, at most so many. */
static inline unsigned iv_uring_reap(struct iv_uring *uring, struct iv_uring_done *done, unsigned most)
{
    unsigned count = io_uring_cq_ready(&uring->ring);
    unsigned mask = *uring->ring.cq.kring_mask;
    unsigned head = *uring->ring.cq.khead;
    unsigned i;

    if (count > most)
        count = most;
    for (i = 0; i < count; i++) {
        done[i].tag = uring->ring.cq.cqes[(head + i) & mask].user_data;
        done[i].result = uring->ring.cq.cqes[(head + i) & mask].res;
    }
    io_uring_cq_advance(&uring->ring, count);
    return count;
}

#else

struct iv_uring {
    char nothing;
};

enum { IV_URING_READV, IV_URING_WRITEV, IV_URING_FSYNC, IV_URING_FALLOCATE };

static inline int iv_uring_open(struct iv_uring *uring, unsigned entries) { return -ENOSYS; }
static inline void iv_uring_close(struct iv_uring *uring) {}
static inline int iv_uring_fd(const struct iv_uring *uring) { return -1; }
static inline bool iv_uring_queue(struct iv_uring *uring, const struct iv_uring_wish *wish, uint64_t tag) { return false; }
static inline unsigned iv_uring_queued(const struct iv_uring *uring) { return 0; }
static inline int iv_uring_submit(struct iv_uring *uring) { return -ENOSYS; }
static inline int iv_uring_wait(struct iv_uring *uring) { return -ENOSYS; }
static inline bool iv_uring_something_done(const struct iv_uring *uring) { return false; }
static inline unsigned iv_uring_reap(struct iv_uring *uring, struct iv_uring_done *done, unsigned most) { return 0; }

#endif
#endif
