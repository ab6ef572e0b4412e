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
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.device import Device, DeviceError, DriverHandle
from ivshmem_virtio.devices.net_header import (
    ETHERNET_HEADER,
    GSO_NONE,
    HEADER_SIZE,
    LONGEST_FRAME,
    Feature,
    with_buffers,
)
from ivshmem_virtio.devices.net_stream import StreamVia
from ivshmem_virtio.devices.net_switch import Switch, SwitchVia
from ivshmem_virtio.devices.net_tap import TapVia
from ivshmem_virtio.devices.net_via import NetCounters, Piece, Via, ViaError
from ivshmem_virtio.devices.resource import Resource
from ivshmem_virtio.errors import IvshmemVirtioError, OutsideWindow, RingViolation
from ivshmem_virtio.transport.queue import Queue

RECEIVE = 0
TRANSMIT = 1
LEAST_QUEUE = 32
"""Linux stops a transmit queue that has no room for a frame of the most fragments (19), so 16 entries never move."""

_STATUS_LINK_UP = 1
_CONFIG = struct.Struct("<6sHHH")
_LEAST_MTU = 68
_VLAN_TAG = 4
_GSO_ECN = 0x80
_PAGE = 4096


class BadNetSettings(DeviceError):
    """A setting of a network device makes no sense."""


class Net(Device):
    """One network interface of a guest.

    ``via`` says where frames go: ``{"stream": PATH}`` connects to a unix stream socket (of passt, QEMU, or another
    device that listens), ``{"stream": PATH, "listen": True}`` waits for one peer at a time, ``{"tap": NAME}`` is an
    interface of the host, ``{"switch": NAME}`` joins ``switch``. ``mac`` is made from ``seed`` (default: the name) when
    not given, so it is the same after every restart. ``mtu`` in bytes is told to the driver when given. ``queue_size``
    is the largest number of descriptors of each queue; it shrinks to what ``window`` bytes have room for. Raises
    BadNetSettings or ViaError.
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
        switch: Switch | None = None,
    ) -> None:
        super().__init__(name)
        self.mac = parse_mac(mac) if mac is not None else derived_mac(seed if seed is not None else name)
        if mtu is not None and not _LEAST_MTU <= mtu <= 65535:
            raise BadNetSettings(f"net device {name}: mtu {mtu} is outside {_LEAST_MTU} to 65535 bytes")
        self.mtu = mtu
        self.queue_size = fitting_queue_size(name, queue_size, window)
        self.counters = NetCounters()
        self._via = make_via(name, via, switch)
        self._log = logging.getLogger(f"ivshmem_virtio.net.{name}")
        self._loop: AbstractEventLoop | None = None
        self._link_up = False
        self._spare: deque[Chain] = deque()
        self._spare_room = 0
        self._spare_of: Queue | None = None
        self._forget_driver()

    def _forget_driver(self) -> None:
        self._driver: DriverHandle | None = None
        self._features = 0
        self._mergeable = False
        self._longest = LONGEST_FRAME
        self._receive: Queue | None = None
        self._transmit: Queue | None = None
        self._violation: IvshmemVirtioError | None = None

    def _forget_spares(self) -> None:
        self._spare.clear()
        self._spare_room = 0
        self._spare_of = None

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
        return _CONFIG.pack(self.mac, _STATUS_LINK_UP if self._link_up else 0, 1, self.mtu or 0)

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
        self._forget_spares()
        self._via.close()

    def activate(self, driver: DriverHandle) -> None:
        self._driver = driver
        self._features = with_dependencies(driver.features)
        self._mergeable = bool(driver.features & Feature.MRG_RXBUF)
        if self.mtu is not None and driver.features & Feature.MTU:
            self._longest = self.mtu + ETHERNET_HEADER + _VLAN_TAG
        self._receive, self._transmit = driver.queues[RECEIVE], driver.queues[TRANSMIT]
        if self._spare_of is not self._receive:
            self._forget_spares()
            self._spare_of = self._receive
        self._via.set_features(self._features)

    def deactivate(self) -> None:
        # Buffers set aside stay known: the reset of the other queue alone (virtio 1.4, 2.6.1) hands this very queue
        # back, and the driver would wait for them for ever. After any other reset the queue is a new one.
        self._forget_driver()
        self._via.set_features(0)
        self._via.resume()

    def handle_queue(self, queue: Queue) -> None:
        if self._violation is not None:
            # Found while a frame arrived, where nobody listens: here the transport does.
            raise self._violation
        if queue.index == RECEIVE:
            # Buffers are taken when a frame needs them; until then a kick for each refill would tell us nothing.
            queue.ring.disable_notifications()
            self._via.resume()
            if self._violation is not None:
                raise self._violation
        else:
            self._transmit_batch(queue)

    # -- from the guest -----------------------------------------------------------------------------------------------

    def _transmit_batch(self, queue: Queue) -> None:
        if not self._via.ready:
            return
        held = False
        for chain in queue.chains():
            self._transmit_one(chain)
            queue.push(chain, 0)
            held = not self._via.ready
            if held:
                break
        # Sent before they are returned: a process that is killed in between has its successor send them again.
        self._via.flush()
        queue.flush()
        if held and self._via.ready and self._loop is not None:
            self._loop.call_soon(self.transmit_again)

    def _transmit_one(self, chain: Chain) -> None:
        length = chain.readable_length - HEADER_SIZE
        if not ETHERNET_HEADER <= length <= LONGEST_FRAME:
            self.counters.transmit_malformed += 1
        elif not self._link_up:
            self.counters.transmit_link_down += 1
        elif self._via.transmit(chain):
            self.counters.transmitted_frames += 1
            self.counters.transmitted_bytes += length

    def transmit_again(self) -> None:
        """The via has room: go on where the ring was left; by own hand, as no kick is due."""
        queue = self._transmit
        if queue is None or self._violation is not None or self._loop is None:
            return
        try:
            self._transmit_batch(queue)
        except (RingViolation, OutsideWindow) as violation:
            self._stop_with(violation)
            return
        if queue.unfinished:
            queue.unfinished = False
            self._loop.call_soon(self.transmit_again)

    # -- to the guest -------------------------------------------------------------------------------------------------

    def deliver(self, header: bytes, frame: Sequence[Piece], length: int) -> bool:
        """Write one frame of ``length`` bytes into receive buffers; False when there are not enough (5.1.6.4)."""
        queue = self._receive
        if queue is None or self._violation is not None:
            self.counters.receive_inactive += 1
            return True
        if length > self._longest and header[1] & ~_GSO_ECN == GSO_NONE:
            # What was told as MTU is kept to, except by what is to be segmented (5.1.4.1).
            self.counters.receive_too_long += 1
            return True
        try:
            chains = self._buffers_for(queue, HEADER_SIZE + length)
            if chains is None:
                self.counters.receive_waits += 1
                return False
            if chains:
                self._fill(queue, chains, header, frame, length)
        except (RingViolation, OutsideWindow) as violation:
            self._stop_with(violation)
        return True

    def flush(self) -> None:
        """Tell the driver of what was delivered."""
        if self._receive is not None:
            self._receive.flush()

    def _buffers_for(self, queue: Queue, needed: int) -> list[Chain] | None:
        """Chains with room for ``needed`` bytes; none where no number of buffers would do; None where more must come.

        Chains taken but not sufficient stay aside for the next attempt.
        """
        most = queue.size if self._mergeable else 1
        for _ in range(queue.size):
            if self._spare_room >= needed or len(self._spare) >= most:
                break
            chain = queue.pop()
            if chain is None:
                return None
            if chain.writable_length < HEADER_SIZE:
                self.counters.receive_malformed += 1
                queue.push(chain, 0)
                continue
            self._spare.append(chain)
            self._spare_room += chain.writable_length
        if self._spare_room < needed:
            if len(self._spare) < most:
                return None
            self.counters.receive_too_long += 1
            return []
        return self._take_spares(needed)

    def _take_spares(self, needed: int) -> list[Chain]:
        taken: list[Chain] = []
        while needed > 0:
            chain = self._spare.popleft()
            self._spare_room -= chain.writable_length
            needed -= chain.writable_length
            taken.append(chain)
        return taken

    def _fill(self, queue: Queue, chains: list[Chain], header: bytes, frame: Sequence[Piece], length: int) -> None:
        chains[0].write(0, with_buffers(header, len(chains)))
        remaining = iter(chains)
        chain, place = next(remaining), HEADER_SIZE
        for piece in frame:
            done = 0
            while done < len(piece):
                if place == chain.writable_length:
                    queue.push(chain, place)
                    chain, place = next(remaining), 0
                count = min(len(piece) - done, chain.writable_length - place)
                chain.write(place, piece if count == len(piece) else memoryview(piece)[done : done + count])
                done += count
                place += count
        queue.push(chain, place)
        self.counters.received_frames += 1
        self.counters.received_bytes += length

    def _stop_with(self, violation: IvshmemVirtioError) -> None:
        """The driver broke a rule of the rings: touch no ring again, and say so at the next ``handle_queue``."""
        self._violation = violation
        self._forget_spares()

    # -- link ---------------------------------------------------------------------------------------------------------

    def link_changed(self, up: bool) -> None:
        """The via's state becomes the LINK_UP bit of the status field."""
        if up == self._link_up:
            return
        self._link_up = up
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
        accepted &= ~(Feature.HOST_TSO4 | Feature.HOST_TSO6)
    if not accepted & Feature.GUEST_CSUM:
        accepted &= ~(Feature.GUEST_TSO4 | Feature.GUEST_TSO6)
    if not accepted & (Feature.HOST_TSO4 | Feature.HOST_TSO6):
        accepted &= ~Feature.HOST_ECN
    if not accepted & (Feature.GUEST_TSO4 | Feature.GUEST_TSO6):
        accepted &= ~Feature.GUEST_ECN
    return accepted


def make_via(name: str, via: Mapping[str, Any], switch: Switch | None) -> Via:
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
        return StreamVia(str(via["stream"]), listen=bool(via.get("listen", False)))
    if kind == "tap":
        return TapVia(str(via["tap"]))
    if switch is None or switch.name != via["switch"]:
        raise ViaError(f"net device {name}: no switch named {via['switch']!r} in this back-end")
    return SwitchVia(switch)
