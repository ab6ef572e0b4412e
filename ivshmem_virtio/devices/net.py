# SPDX-License-Identifier: MIT
"""Network device (virtio 1.4, 5.1): one queue pair, mergeable receive buffers, no control queue.

There is no control queue because a driver spins for its answer with interrupts half closed; while no back-end is there,
that stops a CPU of the guest. With one queue pair a driver needs none.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from asyncio import AbstractEventLoop
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ivshmem_virtio.core import Bell, Engine, NetCounters, NetPort, PlaneWorker
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.net_header import ETHERNET_HEADER, LONGEST_FRAME, Feature
from ivshmem_virtio.devices.net_stream import StreamVia
from ivshmem_virtio.devices.net_switch import Switch, SwitchVia
from ivshmem_virtio.devices.net_tap import TapVia
from ivshmem_virtio.devices.net_via import Via, ViaError
from ivshmem_virtio.devices.placement import Placement
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.errors import OutsideWindow, RingViolation
from ivshmem_virtio.transport.queue import Queue

RECEIVE = 0
TRANSMIT = 1
LEAST_QUEUE = 32
"""Linux stops a transmit queue that has no room for a frame of the most fragments (19), so 16 entries never move."""

_STATUS_LINK_UP = 1
_CONFIG = struct.Struct("<6sHHH")
_LEAST_MTU = 68
_VLAN_TAG = 4
_PAGE = 4096


class BadNetSettings(DeviceError):
    """A setting of a network device makes no sense."""


class Net(Device):
    """One network interface of a guest.

    ``via`` says where frames go: ``{"stream": PATH}`` connects to a unix stream socket (of passt, QEMU, or another
    device that listens), ``{"stream": PATH, "listen": True}`` waits for one peer at a time, ``{"tap": NAME}`` is an
    interface of the host, ``{"switch": NAME}`` joins ``switch``. ``mac`` is made from ``seed`` (default: the name) when
    not given, so it is the same after every restart. ``mtu`` in bytes is told to the driver when given. ``queue_size``
    is the largest number of descriptors of each queue; it shrinks to what ``window`` bytes have room for. ``poll`` and
    ``cpus`` are for the worker that brings frames (``Placement``), on a switch the one of all ports. Raises
    BadNetSettings, ViaError or PlacementInvalid.
    """

    device_id: ClassVar[int] = 1

    def __init__(
        self,
        name: str,
        *,
        via: Mapping[str, Any],
        window: int,
        mac: str | None = None,
        seed: str | None = None,
        mtu: int | None = None,
        queue_size: int = 256,
        poll: str | int | None = None,
        cpus: Sequence[int] | None = None,
        switch: Switch | None = None,
    ) -> None:
        super().__init__(name)
        self.mac = parse_mac(mac) if mac is not None else derived_mac(seed if seed is not None else name)
        if mtu is not None and not _LEAST_MTU <= mtu <= 65535:
            raise BadNetSettings(f"net device {name}: mtu {mtu} is outside {_LEAST_MTU} to 65535 bytes")
        self.mtu = mtu
        self.queue_size = fitting_queue_size(name, queue_size, window)
        self.core = NetPort()
        self._via = make_via(name, via, switch, Placement(f"net {name}", poll, cpus))
        self._log = logging.getLogger(f"ivshmem_virtio.net.{name}")
        self._loop: AbstractEventLoop | None = None
        self._forget_driver()

    def _forget_driver(self) -> None:
        self._driver: DriverHandle | None = None
        self._features = 0
        self._transmit: Queue | None = None
        self._via.aside(self.core.detach)

    @property
    def counters(self) -> NetCounters:
        """What became of the frames."""
        return self.core.counters

    # -- what is offered ----------------------------------------------------------------------------------------------

    @property
    def features(self) -> int:
        offered = int(Feature.MAC | Feature.STATUS | Feature.MRG_RXBUF) | self._via.offloads
        return offered | Feature.MTU if self.mtu is not None else offered

    @property
    def queue_sizes(self) -> Sequence[int]:
        return (self.queue_size, self.queue_size)

    @property
    def config(self) -> bytes:
        return _CONFIG.pack(self.mac, _STATUS_LINK_UP if self.core.link_up else 0, 1, self.mtu or 0)

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Sequence[Resource]:
        """What the way out needs."""
        return self._via.resources

    def open(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._via.open(loop, self)

    def close(self) -> None:
        self._forget_driver()
        self._via.aside(self.core.forget_buffers)
        self._via.close()

    def activate(self, driver: DriverHandle) -> None:
        self._driver = driver
        self._features = with_dependencies(driver.features)
        longest = LONGEST_FRAME
        if self.mtu is not None and driver.features & Feature.MTU:
            # What was told is kept to: Linux makes its receive buffers no larger (virtio 1.4, 5.1.4.1).
            longest = self.mtu + ETHERNET_HEADER + _VLAN_TAG
        receive, self._transmit = driver.queues[RECEIVE], driver.queues[TRANSMIT]
        attach = partial(
            self.core.attach,
            receive.ring if receive is not None else None,
            receive.notify if receive is not None else None,
            self._transmit.ring if self._transmit is not None else None,
            self._transmit.notify if self._transmit is not None else None,
            features=self._features,
            mergeable=bool(driver.features & Feature.MRG_RXBUF),
            longest=longest,
            held=self._via.threaded,
        )
        self._via.aside(attach)
        self._via.set_features(self._features)

    def deactivate(self) -> None:
        # Buffers set aside stay known: the reset of the other queue alone (virtio 1.4, 2.6.1) hands this very queue
        # back, and the driver would wait for them for ever. After any other reset the queue is a new one.
        self._forget_driver()
        self._via.set_features(0)
        self._via.resume()

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        return self._via.compiled(queue, bell)

    def handle_queue(self, queue: Queue) -> None:
        # A rule may have been found broken while a frame arrived, where nobody listens: here the transport does.
        self.core.check()
        if queue.index == RECEIVE:
            # Buffers are taken when a frame needs them; until then a kick for each refill would tell us nothing.
            queue.ring.disable_notifications()
            self._via.aside(self.core.begin)
            self._via.resume()
            self.core.check()
        elif self._via.ready:
            self._via.transmit_from(queue)

    def transmit_again(self) -> None:
        """The via has room: go on where the ring was left; by own hand, as no kick is due."""
        queue = self._transmit
        if queue is None or self.core.stopped or self._loop is None or not self._via.ready:
            return
        try:
            self._via.transmit_from(queue)
        except (RingViolation, OutsideWindow):
            self.core.stop()
            return
        if queue.unfinished:
            queue.unfinished = False
            self._loop.call_soon(self.transmit_again)

    # -- link ---------------------------------------------------------------------------------------------------------

    def link_changed(self, up: bool) -> None:
        """The via's state becomes the LINK_UP bit of the status field."""
        if up == self.core.link_up:
            return
        self.core.link_up = up
        self._log.info("link %s", "up" if up else "down")
        if self._driver is not None and self._features & Feature.STATUS:
            self._driver.config_changed()


def parse_mac(text: str) -> bytes:
    """Six bytes of a unicast address such as ``52:54:00:12:34:56``; raises BadNetSettings."""
    parts = text.split(":")
    try:
        mac = bytes(int(part, 16) for part in parts if 1 <= len(part) <= 2)
    except ValueError:
        mac = b""
    if len(parts) != 6 or len(mac) != 6:
        raise BadNetSettings(f"mac {text!r} is not six hexadecimal bytes such as 52:54:00:12:34:56")
    if mac[0] & 1 or not any(mac):
        raise BadNetSettings(f"mac {text!r} is a group or zero address; the first byte must be even and not all zero")
    return mac


def derived_mac(seed: str) -> bytes:
    """A unicast, locally administered address that only depends on ``seed``."""
    digest = hashlib.sha256(b"ivshmem-virtio net " + seed.encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:6]


def least_window(queue_size: int) -> int:
    """Bytes of window a device with queues of this size needs: rings, a page for each receive buffer, two large frames
    on their way out, and the eighth the guest keeps free of receive buffers."""
    rings = 2 * 26 * queue_size
    return (rings + queue_size * _PAGE + 2 * LONGEST_FRAME) * 8 // 7 + 2 * _PAGE


def fitting_queue_size(name: str, wanted: int, window: int) -> int:
    """The wanted size, or the next smaller power of two that ``window`` bytes have room for; raises BadNetSettings."""
    if wanted < LEAST_QUEUE or wanted > 32768 or wanted & (wanted - 1):
        raise BadNetSettings(
            f"net device {name}: queue size {wanted} is not a power of two from {LEAST_QUEUE} to 32768"
        )
    size = wanted
    while size > LEAST_QUEUE and least_window(size) > window:
        size //= 2
    if least_window(size) > window:
        raise BadNetSettings(
            f"net device {name}: a window of {window} bytes is too small; "
            f"queues of {size} need {least_window(size)}, queues of {wanted} need {least_window(wanted)}"
        )
    return size


def with_dependencies(accepted: int) -> int:
    """``accepted`` without the bits whose precondition is missing (5.1.3.1): never act on half an offload."""
    if not accepted & Feature.CSUM:
        accepted &= ~int(Feature.HOST_TSO4 | Feature.HOST_TSO6)
    if not accepted & Feature.GUEST_CSUM:
        accepted &= ~int(Feature.GUEST_TSO4 | Feature.GUEST_TSO6)
    if not accepted & (Feature.HOST_TSO4 | Feature.HOST_TSO6):
        accepted &= ~int(Feature.HOST_ECN)
    if not accepted & (Feature.GUEST_TSO4 | Feature.GUEST_TSO6):
        accepted &= ~int(Feature.GUEST_ECN)
    return accepted


def make_via(name: str, via: Mapping[str, Any], switch: Switch | None, placement: Placement) -> Via:
    """The way out that a ``via`` table describes; raises ViaError."""
    via = {key: value for key, value in via.items() if value is not None}
    kinds = sorted(via.keys() & {"stream", "tap", "switch"})
    if len(kinds) != 1:
        raise ViaError(f"net device {name}: 'via' must name exactly one of stream, tap, switch, not {sorted(via)}")
    kind = kinds[0]
    unknown = sorted(via.keys() - {kind} - ({"listen"} if kind == "stream" else set()))
    if unknown:
        raise ViaError(f"net device {name}: 'via' has unknown keys for {kind}: {', '.join(unknown)}")
    if kind == "stream":
        return StreamVia(str(via["stream"]), placement, listen=bool(via.get("listen", False)))
    if kind == "tap":
        return TapVia(str(via["tap"]), placement)
    if switch is None or switch.name != via["switch"]:
        raise ViaError(f"net device {name}: no switch named {via['switch']!r} in this back-end")
    return SwitchVia(switch, placement)
