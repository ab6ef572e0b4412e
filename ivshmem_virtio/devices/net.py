# SPDX-License-Identifier: MIT
"""Network device (virtio 1.4, 5.1): queue pairs with mergeable receive buffers, and a control queue with more than one.

With a single pair there is no control queue because a driver spins for its answer with interrupts half closed; while no
back-end is there, that stops a CPU of the guest. It would have nothing to ask.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from asyncio import AbstractEventLoop
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from ivshmem_virtio.core import Bell, Engine, NetCounters, NetPort, PlaneWorker
from ivshmem_virtio.devices import net_control
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.net_header import ETHERNET_HEADER, LONGEST_FRAME, Feature
from ivshmem_virtio.devices.net_pair import Pair
from ivshmem_virtio.devices.net_queues import (
    MOST_PAIRS,
    NET_DEVICE_ID,
    RECEIVE,
    TRANSMIT,
    control_queue,
    pair_of,
    queue_sizes,
    seldom_rung,
)
from ivshmem_virtio.devices.net_stream import StreamVia
from ivshmem_virtio.devices.net_switch import Switch, SwitchVia
from ivshmem_virtio.devices.net_tap import TapVia
from ivshmem_virtio.devices.net_via import Via, ViaError
from ivshmem_virtio.devices.net_workers import Workers
from ivshmem_virtio.devices.placement import Placement
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.transport.queue import Queue

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
    not given, so it is the same after every restart. ``mtu`` in bytes is told to the driver when given. ``queues`` is
    how many pairs of queues there are, up to 8 on a tap, else 1. ``queue_size`` is the largest number of descriptors of
    each queue; it shrinks to what ``window`` bytes have room for. ``workers`` threads bring the frames of all pairs;
    ``poll`` and ``cpus`` are for these (``Placement``), on a switch for the one of all ports. Raises BadNetSettings,
    ViaError or PlacementInvalid.
    """

    device_id: ClassVar[int] = NET_DEVICE_ID

    def __init__(
        self,
        name: str,
        *,
        via: Mapping[str, Any],
        window: int,
        mac: str | None = None,
        seed: str | None = None,
        mtu: int | None = None,
        queues: int = 1,
        queue_size: int = 256,
        workers: int = 1,
        poll: str | int | None = None,
        cpus: Sequence[int] | None = None,
        switch: Switch | None = None,
    ) -> None:
        super().__init__(name)
        self.mac = parse_mac(mac) if mac is not None else derived_mac(seed if seed is not None else name)
        if mtu is not None and not _LEAST_MTU <= mtu <= 65535:
            raise BadNetSettings(f"net device {name}: mtu {mtu} is outside {_LEAST_MTU} to 65535 bytes")
        if not 1 <= queues <= MOST_PAIRS:
            raise BadNetSettings(f"net device {name}: queues = {queues} is outside 1 to {MOST_PAIRS}")
        if not 1 <= workers <= queues:
            raise BadNetSettings(f"net device {name}: workers = {workers} is outside 1 to {queues}, its queues")
        self.mtu = mtu
        self.queue_size = fitting_queue_size(name, queue_size, window, queues)
        self._workers = Workers(name, Placement(f"net {name}", poll, cpus), workers)
        vias = [make_via(name, via, switch, self._workers, pair=pair, pairs=queues) for pair in range(queues)]
        # All ways out are to the same place, so the state of the first one is that of the link.
        self.pairs = [
            Pair(name, self.mac, way, self._tell_link if pair == 0 else lambda up: None)
            for pair, way in enumerate(vias)
        ]
        self._log = logging.getLogger(f"ivshmem_virtio.net.{name}")
        self._in_use = 1
        self._restored = 0
        self._known_queues: list[Queue | None] = []
        self._forget_driver()

    def _forget_driver(self) -> None:
        self._driver: DriverHandle | None = None
        self._features = 0
        self._control: int | None = None

    @property
    def core(self) -> NetPort:
        """The first pair, for compiled code."""
        return self.pairs[0].core

    @property
    def counters(self) -> NetCounters:
        """What became of the frames of the first pair."""
        return self.core.counters

    @property
    def pairs_in_use(self) -> int:
        """Queue pairs that the driver wants frames on."""
        return self._in_use

    # -- what is offered ----------------------------------------------------------------------------------------------

    @property
    def features(self) -> int:
        offered = int(Feature.MAC | Feature.STATUS | Feature.MRG_RXBUF) | self.pairs[0].via.offloads
        if self.mtu is not None:
            offered |= Feature.MTU
        if len(self.pairs) > 1:
            offered |= Feature.CTRL_VQ | Feature.MQ
        return offered

    @property
    def queue_sizes(self) -> Sequence[int]:
        return queue_sizes(len(self.pairs), self.queue_size)

    @property
    def seldom_rung(self) -> Collection[int]:
        return seldom_rung(self.device_id, len(self.queue_sizes))

    @property
    def config(self) -> bytes:
        return _CONFIG.pack(self.mac, _STATUS_LINK_UP if self.core.link_up else 0, len(self.pairs), self.mtu or 0)

    # -- life ---------------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Sequence[Resource]:
        """What the way out needs."""
        return self.pairs[0].via.resources

    def open(self, loop: AbstractEventLoop) -> None:
        try:
            for pair in self.pairs:
                pair.open(loop)
        except DeviceError:
            # Some queues of the interface may be open; whoever tries again begins with none.
            self.close()
            raise

    def close(self) -> None:
        self._forget_driver()
        self._known_queues = []
        for pair in self.pairs:
            pair.close()
        self._workers.stop()

    @property
    def kept(self) -> int:
        """How many pairs the driver uses; nothing where there is only one."""
        if self._driver is None:
            return self._restored
        return self._in_use if len(self.pairs) > 1 else 0

    def restore(self, kept: int) -> None:
        """As of ``kept``, once the driver's queues are there."""
        self._restored = kept

    def activate(self, driver: DriverHandle) -> None:
        self._driver = driver
        self._features = with_dependencies(driver.features)
        self._control = control_queue(self._features, len(self.pairs))
        longest = LONGEST_FRAME
        if self.mtu is not None and driver.features & Feature.MTU:
            # What was told is kept to: Linux makes its receive buffers no larger (virtio 1.4, 5.1.4.1).
            longest = self.mtu + ETHERNET_HEADER + _VLAN_TAG
        queues = list(driver.queues)
        mergeable = bool(driver.features & Feature.MRG_RXBUF)
        for number, pair in enumerate(self.pairs):
            ours = queues[2 * number : 2 * number + 2] if self._has_pair(number) else [None, None]
            pair.activate(ours[RECEIVE], ours[TRANSMIT], self._features, mergeable=mergeable, longest=longest)
        self._in_use = self._pairs_of(queues)
        self._known_queues = queues
        self._steer()

    def deactivate(self) -> None:
        self._forget_driver()
        for pair in self.pairs:
            pair.deactivate()

    # -- queues -------------------------------------------------------------------------------------------------------

    def compiled(self, queue: Queue, bell: Bell) -> tuple[PlaneWorker, Engine] | None:
        pair = self._pair_at(queue.index)
        return pair.compiled(queue, bell) if pair is not None else None

    def handle_queue(self, queue: Queue) -> None:
        pair = self._pair_at(queue.index)
        if pair is not None:
            pair.handle_queue(queue)
        elif queue.index == self._control:
            net_control.serve(queue, self._set_pairs)

    def _pair_at(self, index: int) -> Pair | None:
        """Whose queue that is; None for the control queue, and for queues of pairs that the driver knows nothing of."""
        number = pair_of(index)
        return self.pairs[number] if index != self._control and self._has_pair(number) else None

    def _has_pair(self, number: int) -> bool:
        return number == 0 or (number < len(self.pairs) and bool(self._features & Feature.MQ))

    # -- steering -----------------------------------------------------------------------------------------------------

    def _pairs_of(self, queues: list[Queue | None]) -> int:
        """How many pairs are in use as a driver's queues are taken up: as many as before only where it is the same
        driver, after the reset of a single queue or in the place of a process that was killed."""
        restored, self._restored = self._restored, 0
        if not self._features & Feature.MQ:
            return 1
        if any(new is not None and new is old for new, old in zip(queues, self._known_queues, strict=False)):
            return self._in_use
        if any(queue is not None and queue.ring.resumed for queue in queues):
            return min(max(restored, 1), len(self.pairs))
        return 1

    def _set_pairs(self, count: int) -> bool:
        """VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (virtio 1.4, 5.1.6.5.6)."""
        if not self._features & Feature.MQ or not 1 <= count <= len(self.pairs):
            return False
        if count != self._in_use:
            self._log.info("%d of %d queue pairs in use", count, len(self.pairs))
            self._in_use = count
            self._steer()
        return True

    def _steer(self) -> None:
        """Frames for the guest come to pairs that are in use, and not while their receive queue is being reset."""
        assert self._driver is not None
        receiving = [queue is not None for queue in self._driver.queues[RECEIVE : 2 * self._in_use : 2]]
        wanted = {number for number, there in enumerate(receiving) if there} or {0}
        # First those that are on, so that frames have somewhere to go all the time.
        for number, pair in sorted(enumerate(self.pairs), key=lambda numbered: numbered[0] not in wanted):
            pair.via.steer(number in wanted)

    # -- link ---------------------------------------------------------------------------------------------------------

    def _tell_link(self, up: bool) -> None:
        """The state of the way out becomes the LINK_UP bit of the status field."""
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


def least_window(queue_size: int, pairs: int = 1) -> int:
    """Bytes of window a device with queues of this size needs: rings, a page for each receive buffer, large frames on
    their way out (one for each pair, and one more), and the eighth the guest keeps free of receive buffers."""
    rings = 2 * 26 * queue_size
    return (pairs * (rings + queue_size * _PAGE) + (pairs + 1) * LONGEST_FRAME) * 8 // 7 + 2 * _PAGE


def fitting_queue_size(name: str, wanted: int, window: int, pairs: int = 1) -> int:
    """The wanted size, or the next smaller power of two that ``window`` bytes have room for; raises BadNetSettings."""
    if wanted < LEAST_QUEUE or wanted > 32768 or wanted & (wanted - 1):
        raise BadNetSettings(
            f"net device {name}: queue size {wanted} is not a power of two from {LEAST_QUEUE} to 32768"
        )
    size = wanted
    while size > LEAST_QUEUE and least_window(size, pairs) > window:
        size //= 2
    if least_window(size, pairs) > window:
        raise BadNetSettings(
            f"net device {name}: a window of {window} bytes is too small for {pairs} queue pairs; "
            f"queues of {size} need {least_window(size, pairs)}, queues of {wanted} need {least_window(wanted, pairs)}"
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
    if not accepted & Feature.CTRL_VQ:
        accepted &= ~int(Feature.MQ)
    return accepted


def make_via(
    name: str, via: Mapping[str, Any], switch: Switch | None, workers: Workers, *, pair: int, pairs: int
) -> Via:
    """The way out of a queue pair that a ``via`` table describes; raises ViaError."""
    via = {key: value for key, value in via.items() if value is not None}
    kinds = sorted(via.keys() & {"stream", "tap", "switch"})
    if len(kinds) != 1:
        raise ViaError(f"net device {name}: 'via' must name exactly one of stream, tap, switch, not {sorted(via)}")
    kind = kinds[0]
    unknown = sorted(via.keys() - {kind} - ({"listen"} if kind == "stream" else set()))
    if unknown:
        raise ViaError(f"net device {name}: 'via' has unknown keys for {kind}: {', '.join(unknown)}")
    if pairs > 1 and kind != "tap":
        raise ViaError(f"net device {name}: queues = {pairs} needs a tap; a {kind} has one pair of queues")
    if kind == "stream":
        return StreamVia(str(via["stream"]), workers, listen=bool(via.get("listen", False)))
    if kind == "tap":
        return TapVia(str(via["tap"]), workers, pair=pair, pairs=pairs)
    if switch is None or switch.name != via["switch"]:
        raise ViaError(f"net device {name}: no switch named {via['switch']!r} in this back-end")
    return SwitchVia(switch, workers.placement)
