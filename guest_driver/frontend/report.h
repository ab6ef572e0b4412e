/* SPDX-License-Identifier: MIT */
/* The one way this program fails: a line on standard error, and exit status 1. */
#ifndef REPORT_H
#define REPORT_H

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
