/* SPDX-License-Identifier: MIT */
/* Doorbells between the two threads of an exchange: eventfds, so that a notification that is not sent is really missed. */
#ifndef BELL_H
#define BELL_H

#include <poll.h>
#include <stdint.h>
#include <unistd.h>

/* Longest sleep before a notification counts as lost; generous, because the machine may be busy with other things. */
enum { LOST_AFTER_MS = 20000 };

static inline void bell_ring(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0)
        return; /* the counter is at its limit: the sleeper wakes all the same */
}

/* 0 when nobody rang in time. */
static inline int bell_wait(int fd)
{
    struct pollfd sleeper = {.fd = fd, .events = POLLIN};
    uint64_t count;

    if (poll(&sleeper, 1, LOST_AFTER_MS) <= 0)
        return 0;
    return read(fd, &count, sizeof count) == sizeof count;
}

#endif
