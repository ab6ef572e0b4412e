# SPDX-License-Identifier: MIT
"""A block back-end as revision 1 of the protocol has it: queue of 8, no event index, no extension, one data segment."""

from __future__ import annotations

import struct
import threading

from tests.peers.plain_region import BACKEND, FRONTEND, PlainRegion

SECTORS = 64
QUEUE_SIZE = 8
# VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM, and of a disk SIZE_MAX, SEG_MAX, FLUSH.
FEATURES = 1 << 32 | 1 << 33 | 1 << 36 | 1 << 1 | 1 << 2 | 1 << 9
HEADER = 0x4C + 16
NAP = 0.002


class Revision1Backend:
    """Serves a disk in memory from a thread, until ``stop``. ``served`` counts requests, ``rounds`` front-ends met."""

    def __init__(self, region: PlainRegion, disk: bytearray, device_vector: int = 1) -> None:
        self.region = region
        self.disk = disk
        self.device_vector = device_vector
        self.served = self.rounds = 0
        self.words: list[int] = []
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End as a closed device file does it: state 0."""
        self._stop.set()
        self._thread.join()
        self.region.set_state(BACKEND, 0)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._one_frontend()
        except BaseException as error:
            self.error = error

    def _await(self, state: int) -> bool:
        while self.region.state(FRONTEND) != state:
            if self._stop.wait(NAP):
                return False
        return True

    def _one_frontend(self) -> None:
        region = self.region
        region.set_state(BACKEND, 0)
        if not self._await(0):
            return
        self._initialise()
        region.set_state(BACKEND, 1)
        if not self._await(1):
            return
        self.rounds += 1
        while region.state(FRONTEND) == 1 and not self._stop.is_set():
            word = region.load(8, 4)
            if word:
                self._transaction(word)
            if region.load(0x44, 4) == 0xF:
                self._queue()
            if not region.load(8, 4):
                region.wait(BACKEND, NAP)

    def _initialise(self) -> None:
        region = self.region
        region.write(0, bytes(4096))
        region.store(0, 4, 1)
        region.store(4, 4, HEADER)
        segment = region.window // 8 // 4096 * 4096
        region.write(0x4C, struct.pack("<QII", SECTORS, segment, 1))
        self.queue = {"size": QUEUE_SIZE, "driver_vector": 0, "enable": 0, "desc": 0, "driver": 0, "device": 0}
        self.last = self.used = 0

    def _transaction(self, word: int) -> None:
        region = self.region
        self.words.append(word)
        offset = word
        if offset == 0x10:
            region.store(0x0C, 4, FEATURES >> 32 * region.load(0x10, 4) & 0xFFFFFFFF)
        elif offset == 0x1C:
            self._show(region.load(0x1C, 4))
        elif offset == 0x20:
            self.queue["size"] = region.load(0x20, 2)
        elif offset == 0x24:
            self.queue["driver_vector"] = region.load(0x24, 2)
        elif offset == 0x26:
            self.queue["enable"] = region.load(0x26, 2)
            self.last = self.used = 0
        elif offset in (0x28, 0x30, 0x38):
            self.queue[{0x28: "desc", 0x30: "driver", 0x38: "device"}[offset]] = region.load(offset, 8)
        elif offset == 0x44 and region.load(0x44, 4) == 0:
            self.queue["enable"] = 0
            self.queue["size"] = QUEUE_SIZE
        else:
            assert offset in (0x14, 0x18, 0x44), f"transaction {word:#x} means nothing to revision 1"
        region.store(8, 4, 0)

    def _show(self, selected: int) -> None:
        queue = self.queue if selected == 0 else dict.fromkeys(self.queue, 0)
        region = self.region
        region.store(0x20, 2, queue["size"])
        region.store(0x22, 2, self.device_vector if selected == 0 else 0)
        region.store(0x24, 2, queue["driver_vector"])
        region.store(0x26, 2, queue["enable"])
        for offset, name in ((0x28, "desc"), (0x30, "driver"), (0x38, "device")):
            region.store(offset, 8, queue[name])

    def _queue(self) -> None:
        region, queue = self.region, self.queue
        while queue["enable"] and region.load(queue["driver"] + 2, 2) != self.last:
            head = region.load(queue["driver"] + 4 + 2 * (self.last % queue["size"]), 2)
            self.last = (self.last + 1) & 0xFFFF
            written = self._request(head)
            entry = queue["device"] + 4 + 8 * (self.used % queue["size"])
            region.store(entry, 4, head)
            region.store(entry + 4, 4, written)
            self.used = (self.used + 1) & 0xFFFF
            region.store(queue["device"] + 2, 2, self.used)
            self.served += 1
            # Notification control is ignored: every used buffer rings.
            region.store(0x41, 1, 1)
            region.ring(FRONTEND, queue["driver_vector"])

    def _request(self, head: int) -> int:
        parts = self._chain(head)
        kind, _, sector = struct.unpack("<IIQ", self.region.read(parts[0][0], 16))
        data_at, length, _ = parts[1]
        start = sector * 512
        status, written = 0, 1
        if kind == 0:
            assert len(parts) == 3
            self.region.write(data_at, bytes(self.disk[start : start + length]))
            written += length
        elif kind == 1:
            assert len(parts) == 3
            self.disk[start : start + length] = self.region.read(data_at, length)
        elif kind == 8:
            self.region.write(data_at, b"revision-1 disk".ljust(20, b"\0"))
            written += 20
        else:
            assert kind == 4
        self.region.store(parts[-1][0], 1, status)
        return written

    def _chain(self, head: int) -> list[tuple[int, int, int]]:
        parts = []
        index, flags = head, 1
        while flags & 1:
            offset, length, flags, following = struct.unpack(
                "<QIHH", self.region.read(self.queue["desc"] + 16 * index, 16)
            )
            assert not flags & 4, "indirect was not offered"
            parts.append((offset, length, flags))
            index = following
        return parts
