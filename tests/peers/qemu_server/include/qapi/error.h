/* SPDX-License-Identifier: MIT */
/* An error is its message. */
#ifndef TEST_QAPI_ERROR_H
#define TEST_QAPI_ERROR_H

#include <stdio.h>

typedef struct Error {
	const char *message;
} Error;

static inline void error_report_err(const Error *error)
{
	fprintf(stderr, "%s\n", error->message);
}

#endif
