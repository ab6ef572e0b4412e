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

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.net_frame_via import FrameVia
from ivshmem_virtio.devices.net_header import (
    ETHERNET_HEADER,
    GUEST_OFFLOADS,
    HEADER_SIZE,
    HOST_OFFLOADS,
    LONGEST_FRAME,
    PLAIN_HEADER,
    Feature,
)
from ivshmem_virtio.devices.net_via import Port, ViaError
from ivshmem_virtio.devices.resource import Access, Resource

TUN_DEVICE = "/dev/net/tun"
RETRY = 1.0
"""Seconds between attempts to open an interface that has vanished."""

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETVNETLE = 0x400454DC
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_NAME_SIZE = 16
_OFFLOAD_OF_FEATURE = {
    Feature.GUEST_CSUM: 0x01,
    Feature.GUEST_TSO4: 0x02,
    Feature.GUEST_TSO6: 0x04,
    Feature.GUEST_ECN: 0x08,
}
_FRAMES_PER_TURN = 64
_MOST_PIECES = 1024  # IOV_MAX


class TapVia(FrameVia):
    """An existing tap interface. The link is up while it is open."""

    offloads = HOST_OFFLOADS | GUEST_OFFLOADS

    def __init__(self, interface: str) -> None:
        super().__init__()
        self.interface = interface
        self._log = logging.getLogger("ivshmem_virtio.net.tap")
        self._fd: int | None = None
        self._features = 0
        self._scratch = bytearray(HEADER_SIZE + LONGEST_FRAME)
        self._held: bytes | None = None
        self._reading = False
        self._retry: TimerHandle | None = None

    @property
    def resources(self) -> Sequence[Resource]:
        """The device behind every tap interface."""
        return [Resource(TUN_DEVICE, Access.WRITE)]

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        self._loop, self._port = loop, port
        port.core.waiting = True
        self._start(open_tap(self.interface))

    def close(self) -> None:
        self._shut()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._loop = self._port = None

    def _start(self, fd: int) -> None:
        assert self._port is not None
        self._fd = fd
        self._offer()
        self._read_on()
        self._port.link_changed(True)

    def _shut(self) -> None:
        if self._fd is None:
            return
        assert self._port is not None
        self._read_off()
        os.close(self._fd)
        self._fd = None
        self._held = None
        self._port.link_changed(False)

    def _vanished(self) -> None:
        assert self._loop is not None
        assert self._port is not None
        self._log.warning("interface %s has vanished; waiting for it", self.interface)
        self._port.core.counters.connection_losses += 1
        self._shut()
        self._retry = self._loop.call_later(RETRY, self._reopen)

    def _reopen(self) -> None:
        assert self._loop is not None
        try:
            fd = open_tap(self.interface)
        except ViaError as error:
            self._log.debug("%s", error)
            self._retry = self._loop.call_later(RETRY, self._reopen)
            return
        self._retry = None
        self._log.info("interface %s is back", self.interface)
        self._start(fd)

    def set_features(self, accepted: int) -> None:
        self._features = accepted
        self._offer()

    def _offer(self) -> None:
        """Tell the kernel what the driver takes; it completes and segments the rest itself."""
        if self._fd is None:
            return
        bits = sum(bit for feature, bit in _OFFLOAD_OF_FEATURE.items() if self._features & feature)
        try:
            fcntl.ioctl(self._fd, _TUNSETOFFLOAD, bits)
        except OSError as error:
            self._log.warning("interface %s: TUNSETOFFLOAD %#x failed: %s", self.interface, bits, error.strerror)

    # -- from the host ------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        if not self._reading and self._fd is not None and self._loop is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _read_off(self) -> None:
        if self._reading and self._fd is not None and self._loop is not None:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _look_after(self) -> None:
        """While nothing is read, an interface that vanishes has to be looked for."""
        self._retry = None
        if self._fd is None or self._reading or self._loop is None:
            return
        poll = select.poll()
        poll.register(self._fd, 0)
        if any(events & select.POLLERR for _, events in poll.poll(0)):
            self._vanished()
        else:
            self._retry = self._loop.call_later(RETRY, self._look_after)

    def _readable(self) -> None:
        assert self._fd is not None
        assert self._port is not None
        for _ in range(_FRAMES_PER_TURN):
            try:
                length = os.readv(self._fd, [self._scratch])
            except BlockingIOError:
                break
            except OSError:
                self._vanished()
                break
            if not self._deliver(memoryview(self._scratch)[:length]):
                self._held = bytes(self._scratch[:length])
                self._read_off()
                self._look_after()
                break
        self._port.core.flush()

    def _deliver(self, frame: memoryview) -> bool:
        assert self._port is not None
        length = len(frame) - HEADER_SIZE
        if length < ETHERNET_HEADER:
            self._port.core.counters.receive_malformed += 1
            return True
        # The kernel says "checksum is good" to everybody; only who accepted GUEST_CSUM may hear it (5.1.6.4).
        header = bytes(frame[:HEADER_SIZE]) if self._features & Feature.GUEST_CSUM else PLAIN_HEADER
        return self._port.core.deliver(header, frame[HEADER_SIZE:])

    def resume(self) -> None:
        if self._held is None:
            return
        assert self._port is not None
        if self._deliver(memoryview(self._held)):
            self._held = None
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._port.core.flush()
            self._read_on()

    # -- to the host --------------------------------------------------------------------------------------------------

    def transmit(self, chain: Chain) -> bool:
        """The kernel copies straight out of the window, and checks the header it copied."""
        assert self._fd is not None
        assert self._port is not None
        pieces: list[memoryview] | list[bytes] = chain.readable_views()
        if len(pieces) > _MOST_PIECES:
            pieces = [chain.read(0, chain.readable_length)]
        try:
            os.writev(self._fd, pieces)
        except OSError as error:
            if error.errno == errno.EINVAL:
                self._port.core.counters.transmit_malformed += 1
            elif error.errno == errno.EIO:
                self._port.core.counters.transmit_link_down += 1
            else:
                self._port.core.counters.transmit_refused += 1
            return False
        return True


def open_tap(name: str) -> int:
    """A descriptor of the existing tap interface ``name``, non-blocking, with 12-byte headers; raises ViaError."""
    if not 0 < len(name.encode()) < _NAME_SIZE:
        raise ViaError(f"tap {name!r}: an interface name has 1 to {_NAME_SIZE - 1} bytes")
    try:
        socket.if_nametoindex(name)
    except OSError as error:
        raise ViaError(f"tap {name}: no such interface; create it: ip tuntap add dev {name} mode tap") from error
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        remedy = (
            "load the kernel module tun" if error.errno in (errno.ENOENT, errno.ENODEV) else "check its permissions"
        )
        raise ViaError(f"tap {name}: cannot open {TUN_DEVICE}: {error.strerror}; {remedy}") from error
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack(f"{_NAME_SIZE}sH22x", name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", HEADER_SIZE))
        fcntl.ioctl(fd, _TUNSETVNETLE, struct.pack("i", 1))
    except OSError as error:
        os.close(fd)
        raise ViaError(f"tap {name}: {_reason(error, name)}") from error
    return fd


def _reason(error: OSError, name: str) -> str:
    if error.errno == errno.EBUSY:
        return "in use by another process"
    if error.errno == errno.EPERM:
        return f"not permitted; give the interface to this user: ip tuntap add dev {name} mode tap user NAME"
    if error.errno == errno.EINVAL:
        return "not a tap interface with a single queue"
    return f"cannot attach: {error.strerror}"
