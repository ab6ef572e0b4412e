/* SPDX-License-Identifier: MIT */
/* What QEMU's ivshmem programs expect of its osdep.h: libc, and the few glib names they use, done with libc. */
#ifndef TEST_QEMU_OSDEP_H
#define TEST_QEMU_OSDEP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

typedef char gchar;

#define FALSE 0
#define G_MAXUINT16 UINT16_MAX
#define G_N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define GINT64_TO_LE(value) ((int64_t)htole64((uint64_t)(value)))
#define GINT64_FROM_LE(value) ((int64_t)le64toh((uint64_t)(value)))

/* Memory that runs out ends the program, as with glib. */
static inline void *g_malloc0(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		abort();
	return memory;
}

static inline void g_free(void *memory)
{
	free(memory);
}

__attribute__((format(printf, 1, 2)))
static inline gchar *g_strdup_printf(const char *format, ...)
{
	va_list arguments;
	gchar *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		abort();
	va_end(arguments);
	return text;
}

static inline int qemu_daemon(int keep_folder, int keep_output)
{
	return daemon(keep_folder, keep_output);
}

#endif
