# SPDX-License-Identifier: MIT
"""A learning Ethernet switch between guests: one copy, from the sender's window to the receiver's."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Sequence

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.net_header import (
    GUEST_OFFLOADS,
    HEADER_SIZE,
    HOST_OFFLOADS,
    PLAIN_HEADER,
    NetHeader,
    check_transmitted,
    needed_to_receive,
)
from ivshmem_virtio.devices.net_offload import plain_frames
from ivshmem_virtio.devices.net_via import Piece, Port, Via, ViaError

AGEING = 300.0
"""Seconds after which an address nobody used is forgotten (IEEE 802.1Q, 8.8.3)."""
MOST_ADDRESSES = 256
"""Learned addresses for each port, so that no guest can fill the table."""

_ADDRESS = 6
_LINK_LOCAL = bytes.fromhex("0180c20000")


class Frame:
    """One frame on its way through: as sent, and as a receiver without offloads needs it (made at most once)."""

    def __init__(self, header: NetHeader, chain: Chain) -> None:
        self.length = chain.readable_length - HEADER_SIZE
        self.header = header
        self.needed = needed_to_receive(header)
        self.packed = header.pack() if self.needed else PLAIN_HEADER
        self.pieces: Sequence[Piece] = chain.readable_views(HEADER_SIZE)
        self._plain: list[bytes] | None = None

    def plain(self) -> list[bytes]:
        """Complete frames; none where header and contents contradict each other."""
        if self._plain is None:
            self._plain = plain_frames(b"".join(self.pieces), self.header)
        return self._plain


class Switch:
    """The switch ``name`` of one service; all its ports live on one event loop."""

    def __init__(self, name: str, *, ageing: float = AGEING) -> None:
        self.name = name
        self.ageing = ageing
        self.flooded = 0
        self._log = logging.getLogger(f"ivshmem_virtio.switch.{name}")
        self._loop: AbstractEventLoop | None = None
        self._ports: list[SwitchVia] = []
        self._own: dict[bytes, SwitchVia] = {}
        self._unflushed: set[SwitchVia] = set()

    def join(self, port: SwitchVia, mac: bytes, loop: AbstractEventLoop) -> None:
        """A new port, whose device has this address; raises ViaError."""
        if self._ports and loop is not self._loop:
            raise ViaError(f"switch {self.name}: its ports must share one event loop")
        if mac in self._own:
            raise ViaError(f"switch {self.name}: two devices have the address {mac.hex(':')}; set 'mac' on one of them")
        self._loop = loop
        self._ports.append(port)
        self._own[mac] = port

    def leave(self, port: SwitchVia) -> None:
        """The port is gone, with all that was learned on it."""
        self._ports.remove(port)
        self._own = {mac: owner for mac, owner in self._own.items() if owner is not port}
        self._unflushed.discard(port)

    def forward(self, source: SwitchVia, header: NetHeader, chain: Chain) -> bool:
        """Pass on the frame in ``chain``; False where no port had a use for it."""
        addresses = chain.read(HEADER_SIZE, 2 * _ADDRESS)
        destination, sender = addresses[:_ADDRESS], addresses[_ADDRESS:]
        self._learn(source, sender)
        if destination[:5] == _LINK_LOCAL and destination[5] < 16:
            return False  # for the bridge itself, never beyond it (IEEE 802.1Q, 8.6.3)
        targets = self._targets(source, destination)
        if not targets:
            return False
        frame = Frame(header, chain)
        for port in targets:
            self._unflushed.add(port)
            port.receive(frame)
        return True

    def flush(self) -> None:
        """Tell the drivers of all ports that were given frames."""
        while self._unflushed:
            self._unflushed.pop().tell_driver()

    def port_of(self, mac: bytes) -> SwitchVia | None:
        """Where an address is known to be; None for one never seen, or not for a long time."""
        owner = self._own.get(mac)
        if owner is not None or self._loop is None:
            return owner
        oldest = self._loop.time() - self.ageing
        return next((port for port in self._ports if port.learned.get(mac, oldest) > oldest), None)

    def _targets(self, source: SwitchVia, destination: bytes) -> Sequence[SwitchVia]:
        if not destination[0] & 1:
            known = self.port_of(destination)
            if known is not None:
                return () if known is source else (known,)
        self.flooded += 1
        return [port for port in self._ports if port is not source]

    def _learn(self, source: SwitchVia, mac: bytes) -> None:
        """Remember where an address lives. A device's own address stays with its device, whoever else uses it."""
        if mac[0] & 1 or mac in self._own or self._loop is None:
            return
        for port in self._ports:
            port.learned.pop(mac, None)
        # Taken out and put in again, the table is in order of use: the oldest is the first.
        source.learned[mac] = self._loop.time()
        if len(source.learned) > MOST_ADDRESSES:
            del source.learned[next(iter(source.learned))]


class SwitchVia(Via):
    """One port of a switch. The link is up while the device is open.

    Every port offers all offloads. A receiver that has not accepted one of them gets the frame with its checksum
    completed, or cut into segments, in software: correct, and slow.
    """

    offloads = HOST_OFFLOADS | GUEST_OFFLOADS

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.learned: dict[bytes, float] = {}
        self._port: Port | None = None
        self._features = 0

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        self.switch.join(self, port.mac, loop)
        self._port = port
        port.link_changed(True)

    def close(self) -> None:
        if self._port is not None:
            self.switch.leave(self)
            self._port.link_changed(False)
            self._port = None
            self.learned.clear()

    def set_features(self, accepted: int) -> None:
        self._features = accepted

    def transmit(self, chain: Chain) -> bool:
        assert self._port is not None
        raw = chain.read(0, HEADER_SIZE)
        header = check_transmitted(raw, chain.readable_length - HEADER_SIZE, self._features)
        if header is None:
            self._port.counters.transmit_malformed += 1
            return False
        if not self.switch.forward(self, header, chain):
            self._port.counters.transmit_refused += 1
            return False
        return True

    def flush(self) -> None:
        self.switch.flush()

    def receive(self, frame: Frame) -> None:
        """Hand a frame from another port to the own device; without room for it, it is dropped and counted."""
        assert self._port is not None
        if not frame.needed & ~self._features:
            self._give(frame.packed, frame.pieces, frame.length)
            return
        if not frame.plain():
            self._port.counters.receive_malformed += 1
        for plain in frame.plain():
            self._give(PLAIN_HEADER, (plain,), len(plain))

    def tell_driver(self) -> None:
        """End of a batch of ``receive``."""
        if self._port is not None:
            self._port.flush()

    def _give(self, header: bytes, pieces: Sequence[Piece], length: int) -> None:
        assert self._port is not None
        if not self._port.deliver(header, pieces, length):
            self._port.counters.receive_no_buffer += 1
