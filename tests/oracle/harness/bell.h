/* SPDX-License-Identifier: MIT */
/* Doorbells between the two threads of an exchange. A notification that is not sent is really missed: its sleeper never
 * wakes. A bell is an eventfd, or, below 0, one of two words that the sleeper spins on: then the two sides meet so closely
 * that a missing barrier shows. */
#ifndef BELL_H
#define BELL_H

enum { SPIN_KICK = -1, SPIN_CALL = -2 };

void bell_reset(void); /* forget what was rung on the two words */
void bell_ring(int bell);
/* 0 when nobody rang in time: generous, because the machine may be busy with other things. */
int bell_wait(int bell);

#endif
