/* SPDX-License-Identifier: MIT */
/* An event notifier is one eventfd here, for reading and for writing, as QEMU's is on Linux. */
#ifndef TEST_QEMU_EVENT_NOTIFIER_H
#define TEST_QEMU_EVENT_NOTIFIER_H

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct EventNotifier {
	int rfd;
	int wfd;
} EventNotifier;

static inline int event_notifier_init(EventNotifier *notifier, int active)
{
	int descriptor = eventfd(active ? 1 : 0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (descriptor < 0)
		return -errno;
	notifier->rfd = descriptor;
	notifier->wfd = descriptor;
	return 0;
}

static inline void event_notifier_cleanup(EventNotifier *notifier)
{
	close(notifier->rfd);
	notifier->rfd = -1;
	notifier->wfd = -1;
}

static inline int event_notifier_get_fd(const EventNotifier *notifier)
{
	return notifier->rfd;
}

#endif
