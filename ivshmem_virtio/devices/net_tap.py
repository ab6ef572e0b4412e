# SPDX-License-Identifier: MIT
"""Frames through a tap interface of the host, offload header included (Linux: Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import socket
import struct
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.core import NetLine
from ivshmem_virtio.devices.net_header import GUEST_OFFLOADS, HEADER_SIZE, HOST_OFFLOADS, Feature
from ivshmem_virtio.devices.net_line import LineVia
from ivshmem_virtio.devices.net_via import Port, ViaError
from ivshmem_virtio.devices.net_workers import Workers
from ivshmem_virtio.devices.resource import Access, Resource

TUN_DEVICE = "/dev/net/tun"
RETRY = 1.0
"""Seconds between attempts to open an interface that has vanished."""

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETVNETLE = 0x400454DC
_TUNSETQUEUE = 0x400454D9
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_MULTI_QUEUE = 0x0100
_IFF_ATTACH_QUEUE = 0x0200
_IFF_DETACH_QUEUE = 0x0400
_NAME_SIZE = 16
_REQUEST = struct.Struct(f"{_NAME_SIZE}sH22x")
"""struct ifreq with flags."""
_OFFLOAD_OF_FEATURE = {
    Feature.GUEST_CSUM: 0x01,
    Feature.GUEST_TSO4: 0x02,
    Feature.GUEST_TSO6: 0x04,
    Feature.GUEST_ECN: 0x08,
}


class TapVia(LineVia):
    """An existing tap interface, or one queue of it. The link is up while it is open.

    With ``pairs`` above 1 the interface has as many queues. The kernel gives a flow to the queue that last sent a frame
    of it (virtio 1.4, 5.1.6.5.6), and to none that was switched off.
    """

    offloads = HOST_OFFLOADS | GUEST_OFFLOADS

    def __init__(self, interface: str, workers: Workers, *, pair: int = 0, pairs: int = 1) -> None:
        super().__init__(workers, framed=False, pair=pair)
        self.interface = interface
        self._many = pairs > 1
        self._on = pair == 0
        self._log = logging.getLogger("ivshmem_virtio.net.tap")
        self._features = 0
        self._retry: TimerHandle | None = None

    @property
    def resources(self) -> Sequence[Resource]:
        """The device behind every tap interface."""
        return [Resource(TUN_DEVICE, Access.WRITE)]

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        super().open(loop, port)
        self._start(open_tap(self.interface, many=self._many))

    def close(self) -> None:
        self._shut()
        self._no_retry()
        super().close()

    def _start(self, fd: int) -> None:
        self._offer(fd)
        if not self._on:
            self._switch(fd)
        self._attach(fd)

    def _shut(self) -> None:
        fd = self._fd
        if fd >= 0:
            self._detach()
            os.close(fd)

    def _no_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def gone(self, line: NetLine) -> None:
        assert self._loop is not None
        assert self._port is not None
        self._log.warning("interface %s has vanished; waiting for it", self.interface)
        self._port.core.counters.connection_losses += 1
        self._shut()
        self._no_retry()
        self._retry = self._loop.call_later(RETRY, self._reopen)

    def _reopen(self) -> None:
        assert self._loop is not None
        try:
            fd = open_tap(self.interface, many=self._many)
        except ViaError as error:
            self._log.debug("%s", error)
            self._retry = self._loop.call_later(RETRY, self._reopen)
            return
        self._retry = None
        self._log.info("interface %s is back", self.interface)
        self._start(fd)

    def set_features(self, accepted: int) -> None:
        super().set_features(accepted)
        self._features = accepted
        if self._fd >= 0:
            self._offer(self._fd)

    def _offer(self, fd: int) -> None:
        """Tell the kernel what the driver takes; it completes and segments the rest itself."""
        bits = sum(bit for feature, bit in _OFFLOAD_OF_FEATURE.items() if self._features & feature)
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, bits)
        except OSError as error:
            self._log.warning("interface %s: TUNSETOFFLOAD %#x failed: %s", self.interface, bits, error.strerror)

    def steer(self, on: bool) -> None:
        if not self._many or on == self._on:
            return
        self._on = on
        if self._fd >= 0:
            self._switch(self._fd)
        if not on and self._line is not None:
            # Whoever was still at work with a frame of this queue is done with it afterwards.
            self.aside(self._line.forget_held)
            self._read_on()

    def _switch(self, fd: int) -> None:
        """Have the kernel give frames to this queue, or to none but the others; what waits in it is dropped then."""
        flags = _IFF_ATTACH_QUEUE if self._on else _IFF_DETACH_QUEUE
        try:
            fcntl.ioctl(fd, _TUNSETQUEUE, _REQUEST.pack(b"", flags))
        except OSError as error:
            # An interface that vanishes at this moment: what opens it again comes back to this.
            self._log.warning("interface %s: TUNSETQUEUE %#x failed: %s", self.interface, flags, error.strerror)

    def waits(self) -> None:
        """While nothing is read, an interface that vanishes has to be looked for."""
        self._no_retry()
        if self._fd < 0 or self._reading or self._loop is None:
            return
        poll = select.poll()
        poll.register(self._fd, 0)
        if self._line is not None and any(events & select.POLLERR for _, events in poll.poll(0)):
            self.gone(self._line)
        else:
            self._retry = self._loop.call_later(RETRY, self.waits)


def open_tap(name: str, *, many: bool = False) -> int:
    """A descriptor of the existing tap interface ``name``, non-blocking, with 12-byte headers; raises ViaError.

    ``many``: of one more queue of an interface that may have many.
    """
    if not 0 < len(name.encode()) < _NAME_SIZE:
        raise ViaError(f"tap {name!r}: an interface name has 1 to {_NAME_SIZE - 1} bytes")
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise ViaError(f"tap {name}: no such interface; create it: {_remedy(name, many=many)}") from error
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        remedy = (
            "load the kernel module tun" if error.errno in (errno.ENOENT, errno.ENODEV) else "check its permissions"
        )
        raise ViaError(f"tap {name}: cannot open {TUN_DEVICE}: {error.strerror}; {remedy}") from error
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if many else 0)
        fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", HEADER_SIZE))
        fcntl.ioctl(fd, _TUNSETVNETLE, struct.pack("i", 1))
    except OSError as error:
        os.close(fd)
        raise ViaError(f"tap {name}: {_reason(error, name, many=many)}") from error
    return fd


def _remedy(name: str, *, many: bool) -> str:
    return f"ip tuntap add dev {name} mode tap" + (" multi_queue" if many else "")


def _reason(error: OSError, name: str, *, many: bool) -> str:
    if error.errno == errno.EBUSY:
        return "in use by another process"
    if error.errno == errno.EPERM:
        return f"not permitted; give the interface to this user: {_remedy(name, many=many)} user NAME"
    if error.errno == errno.EINVAL and many:
        return f"not a tap interface with many queues, which queues above 1 need; create it: {_remedy(name, many=True)}"
    if error.errno == errno.E2BIG:
        return "all of its queues are in use"
    if error.errno == errno.EINVAL:
        return "not a tap interface with a single queue"
    return f"cannot attach: {error.strerror}"
