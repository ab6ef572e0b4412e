/* SPDX-License-Identifier: MIT */
/* Bounded waiting: nothing here tells when the other side has acted, so everything looks again after a nap. */
#ifndef PATIENCE_H
#define PATIENCE_H

#include <stdbool.h>

struct deadline {
	double end;
	double nap;
};

/* Seconds every wait may last; set once from the command line. */
extern double patience_seconds;

double patience_now(void);
struct deadline patience_start(void);

/* Sleep for a moment; false once the time is over. Fails when the program was told to end. */
bool patience_nap(struct deadline *deadline);

/* SIGINT and SIGTERM end the next wait, so that the device is left in good order. */
void patience_catch_signals(void);

#endif
