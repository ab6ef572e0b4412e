/* SPDX-License-Identifier: MIT */
/* Sockets that programs started from here do not inherit. */
#ifndef TEST_QEMU_SOCKETS_H
#define TEST_QEMU_SOCKETS_H

#include <fcntl.h>
#include <sys/socket.h>

static inline int qemu_accept(int listening, struct sockaddr *address, socklen_t *length)
{
	return accept4(listening, address, length, SOCK_CLOEXEC);
}

static inline void qemu_socket_set_nonblock(int descriptor)
{
	fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

#endif
