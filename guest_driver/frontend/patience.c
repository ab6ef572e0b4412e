/* SPDX-License-Identifier: MIT */
#include "patience.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "report.h"

#define SHORTEST_NAP 20e-6
#define LONGEST_NAP 2e-3

double patience_seconds = 5;
static volatile sig_atomic_t told_to_end;

static void end_soon(int signal_number)
{
	told_to_end = signal_number;
}

void patience_catch_signals(void)
{
	struct sigaction action = { .sa_handler = end_soon, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

double patience_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

struct deadline patience_start(void)
{
	struct deadline deadline = { patience_now() + patience_seconds, SHORTEST_NAP };

	return deadline;
}

bool patience_nap(struct deadline *deadline)
{
	struct timespec nap = { 0, (long)(deadline->nap * 1e9) };

	if (told_to_end)
		fail("ended by signal %d", (int)told_to_end);
	if (patience_now() >= deadline->end)
		return false;
	nanosleep(&nap, NULL);
	deadline->nap = deadline->nap * 2 < LONGEST_NAP ? deadline->nap * 2 : LONGEST_NAP;
	return true;
}
