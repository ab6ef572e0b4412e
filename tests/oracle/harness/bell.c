/* SPDX-License-Identifier: MIT */
#include "bell.h"

#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

enum { LOST_AFTER_S = 20, SPINS_PER_LOOK = 20000 };

/* Far apart, so that the two do not share a cache line. */
static unsigned words[3][64];

static unsigned *word_of(int bell)
{
    return words[-bell];
}

void bell_reset(void)
{
    *word_of(SPIN_KICK) = *word_of(SPIN_CALL) = 0;
}

void bell_ring(int bell)
{
    uint64_t one = 1;

    if (bell < 0)
        __atomic_store_n(word_of(bell), 1, __ATOMIC_RELEASE);
    else if (write(bell, &one, sizeof one) < 0)
        return; /* the counter is at its limit: the sleeper wakes all the same */
}

static int spin(unsigned *word)
{
    time_t start = time(NULL);

    while (time(NULL) - start <= LOST_AFTER_S) {
        for (int i = 0; i < SPINS_PER_LOOK; i++)
            if (__atomic_load_n(word, __ATOMIC_RELAXED) && __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL))
                return 1;
        sched_yield();
    }
    return 0;
}

int bell_wait(int bell)
{
    struct pollfd sleeper = {.fd = bell, .events = POLLIN};
    uint64_t count;

    if (bell < 0)
        return spin(word_of(bell));
    if (poll(&sleeper, 1, LOST_AFTER_S * 1000) <= 0)
        return 0;
    return read(bell, &count, sizeof count) == sizeof count;
}
