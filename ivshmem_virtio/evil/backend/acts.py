# SPDX-License-Identifier: MIT
"""How a puppet passes for a device: configuration, features, and an answer to each request that drivers accept."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import ClassVar

from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.memory import Memory

SECTOR = 512
DISK_SECTORS = 2048


class Act(ABC):
    """One device type. Scenarios change ``features``, ``config`` and ``queue_sizes`` before the driver looks."""

    device_id: ClassVar[int]
    features: int
    config: bytearray
    queue_sizes: list[int]

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        self.queue_sizes = list(queue_sizes)

    @abstractmethod
    def answer(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        """Act on a request; returns the number of bytes written, None to keep the chain for later."""

    def deliver(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        """Fill a chain that was kept: input of the device; None for none now."""
        return None


class BlkAct(Act):
    """A disk of a megabyte that keeps what is written to it."""

    device_id = 2
    IN, OUT, FLUSH, GET_ID = 0, 1, 4, 8
    SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH_BIT, TOPOLOGY, MQ = 1 << 1, 1 << 2, 1 << 6, 1 << 9, 1 << 10, 1 << 12
    # Offsets in the configuration (virtio 1.4, 5.2.4).
    CAPACITY, AT_SIZE_MAX, AT_SEG_MAX, AT_BLK_SIZE, AT_TOPOLOGY, NUM_QUEUES = 0, 8, 12, 20, 24, 34

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        super().__init__(queue_sizes)
        self.features = self.SIZE_MAX | self.SEG_MAX | self.FLUSH_BIT
        self.config = bytearray(60)
        struct.pack_into("<QII", self.config, 0, DISK_SECTORS, 32768, 8)
        self.disk = bytearray(DISK_SECTORS * SECTOR)

    def answer(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        request = chain.bytes_of(memory)
        if len(request) < 16 or not chain.writable:
            return 0
        kind, _, sector = struct.unpack_from("<IIQ", request)
        start, room, status = sector * SECTOR, chain.room - 1, 0
        if kind == self.IN:
            chain.fill(memory, bytes(self.disk[start : start + room]).ljust(room, b"\0") + b"\0")
            return room + 1
        if kind == self.OUT:
            self.disk[start : start + len(request) - 16] = request[16:]
            del self.disk[DISK_SECTORS * SECTOR :]
        elif kind == self.GET_ID:
            chain.fill(memory, b"evil".ljust(room, b"\0") + b"\0")
            return room + 1
        elif kind != self.FLUSH:
            status = 2
        at, length = chain.writable[-1]
        memory.store(at + length - 1, 1, status)
        return 1


class ConsoleAct(Act):
    """A terminal that swallows all output and now and then types a line; with MULTIPORT, control queues as well."""

    device_id = 3
    SIZE, MULTIPORT = 1 << 0, 1 << 1
    MAX_NR_PORTS = 4
    # Control messages (virtio 1.4, 5.3.6.2).
    DEVICE_READY, DEVICE_ADD, PORT_READY, CONSOLE_PORT, PORT_OPEN, PORT_NAME = 0, 1, 3, 4, 6, 7

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        super().__init__(queue_sizes)
        self.features = self.SIZE
        self.config = bytearray(struct.pack("<HHII", 80, 25, 1, 0))
        self.control: list[bytes] = []
        self.talkative = False

    def answer(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        if queue % 2 == 0:
            return None
        if queue == 3 and self.features & self.MULTIPORT:
            self._converse(chain.bytes_of(memory))
        return 0

    def _converse(self, message: bytes) -> None:
        """What the device says next on the control queue."""
        if len(message) < 8:
            return
        port, event, _ = struct.unpack_from("<IHH", message)
        if event == self.DEVICE_READY:
            self.control.append(struct.pack("<IHH", 0, self.DEVICE_ADD, 1))
        elif event == self.PORT_READY:
            self.control.append(struct.pack("<IHH", port, self.CONSOLE_PORT, 1))
            self.control.append(struct.pack("<IHH", port, self.PORT_OPEN, 1))

    def deliver(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        if queue == 2 and self.features & self.MULTIPORT:
            return chain.fill(memory, self.control.pop(0)) if self.control else None
        if queue != 0 or not (self.talkative or random.random() < 0.05):
            return None
        return chain.fill(memory, b"all is well\n")


class NetAct(Act):
    """An interface that hears every frame it sent."""

    device_id = 1
    MTU, MAC, MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, MQ = 1 << 3, 1 << 5, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 22
    GUEST_CSUM, GUEST_TSO4, GUEST_TSO6 = 1 << 1, 1 << 7, 1 << 8
    # Offsets in the configuration (virtio 1.4, 5.1.4).
    AT_MAC, AT_STATUS, AT_PAIRS, AT_MTU = 0, 6, 8, 10
    HEADER = 12

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        super().__init__(queue_sizes)
        self.features = self.MAC | self.STATUS | self.MRG_RXBUF
        self.config = bytearray(struct.pack("<6sHHHIBBHI", b"\x52\x54\0\xee\xee\xee", 1, 1, 1500, 1000, 1, 0, 0, 0))
        self.echo: list[bytes] = []

    def answer(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        if queue == 0:
            return None
        if queue == len(self.queue_sizes) - 1 and self.features & self.CTRL_VQ:
            return chain.fill(memory, b"\0")
        frame = chain.bytes_of(memory)[self.HEADER :]
        if len(self.echo) < 64:
            self.echo.append(self.frame(frame))
        return 0

    def frame(self, payload: bytes) -> bytes:
        """A received frame: header without offload, one buffer."""
        return struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1) + payload

    def deliver(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        if queue != 0 or not self.echo:
            return None
        return chain.fill(memory, self.echo.pop(0))


class RngAct(Act):
    """Bytes that are random as long as nobody looks closely."""

    device_id = 4

    def __init__(self, queue_sizes: Sequence[int]) -> None:
        super().__init__(queue_sizes)
        self.features = 0
        self.config = bytearray()

    def answer(self, memory: Memory, queue: int, chain: Chain, random: Random) -> int | None:
        return chain.fill(memory, random.randbytes(chain.room))


ACTS: dict[int, type[Act]] = {act.device_id: act for act in (BlkAct, ConsoleAct, NetAct, RngAct)}


def safely(act: Act, memory: Memory, queue: int, chain: Chain, random: Random, *, kept: bool) -> int | None:
    """``answer`` or ``deliver``; where scribbling has spoiled the chain, nothing was written."""
    try:
        return (act.deliver if kept else act.answer)(memory, queue, chain, random)
    except OutsideWindow:
        return 0
