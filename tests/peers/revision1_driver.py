# SPDX-License-Identifier: MIT
"""A driver as revision 1 has it: no extension, no sizes in transactions, rings of its own, spinning waits."""

from __future__ import annotations

import struct
import time

from tests.peers.plain_region import BACKEND, FRONTEND, PlainRegion, soon

VERSION_1, ACCESS_PLATFORM, ORDER_PLATFORM = 1 << 32, 1 << 33, 1 << 36
INDIRECT, EVENT_IDX = 1 << 28, 1 << 29
NEXT, WRITE, INDIRECT_FLAG = 1, 2, 4


class Queue:
    """A split ring and what its driver remembers of it."""

    def __init__(self, index: int, size: int, start: int, device_vector: int, vector: int) -> None:
        self.index, self.size, self.desc = index, size, start
        self.avail = start + 16 * size
        self.used = (self.avail + 6 + 2 * size + 63) // 64 * 64
        self.device_vector, self.vector = device_vector, vector
        self.avail_index = self.used_index = 0


class Revision1Driver:
    """``mode``: "full" = a vector per queue, "two" = one for all queues, "one" = vector 0 for everything."""

    def __init__(self, region: PlainRegion, mode: str, features: int = 0) -> None:
        self.region = region
        self.mode = mode
        self.wanted = VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM | features
        self.queues: dict[int, Queue] = {}
        self.device_gone = False

    # Transactions: wait for idle, store, word, doorbell. Nobody waits after the last one.

    def idle(self) -> None:
        assert soon(lambda: self.region.load(8, 4) == 0 or self.region.state(BACKEND) != 1), "transaction hangs"
        if self.region.state(BACKEND) != 1:
            self.device_gone = True

    def write(self, offset: int, size: int, value: int) -> None:
        self.idle()
        if self.device_gone:
            return
        self.region.store(offset, size, value)
        self.region.store(8, 4, offset)
        self.region.ring(BACKEND, 0)

    def read(self, offset: int, size: int) -> int:
        self.idle()
        return self.region.load(offset, size)

    # Bring-up.

    def probe(self) -> None:
        region = self.region
        assert region.state(BACKEND) == 1, "a driver of revision 1 gives up unless the back-end is ready"
        assert region.load(0, 4) >= 1
        region.set_state(FRONTEND, 1)
        # The section in 4096 chunks, each 64 to 4096 bytes; those of the header are not the driver's.
        self.chunk = min(max(region.window // 4096, 64), 4096)
        self.next = (region.load(4, 4) + self.chunk - 1) // self.chunk * self.chunk
        self.first_free = self.next
        for status in (0, 1, 3):
            self.write(0x44, 4, status)
        self.write(0x10, 4, 1)
        high = self.read(0x0C, 4)
        self.write(0x10, 4, 0)
        self.features = (self.read(0x0C, 4) | high << 32) & self.wanted
        assert self.features & VERSION_1
        assert self.features & ACCESS_PLATFORM
        for word in (1, 0):
            self.write(0x18, 4, word)
            self.write(0x14, 4, self.features >> 32 * word & 0xFFFFFFFF)
        self.write(0x44, 4, 0xB)
        assert self.read(0x44, 4) & 8, "FEATURES_OK refused"

    def take(self, length: int) -> int:
        """Room of power-of-two size, aligned to it, as a buddy-like bitmap allocator gives it."""
        size = max(1 << (length - 1).bit_length(), self.chunk)
        self.next = (self.next + size - 1) // size * size
        offset = self.next
        self.next += size
        assert self.next <= self.region.window
        return offset

    def setup_queue(self, index: int) -> Queue:
        self.write(0x1C, 4, index)
        assert self.read(0x26, 2) == 0, "queue is enabled already"
        size = self.region.load(0x20, 2)
        assert size, "no such queue"
        device_vector = self.region.load(0x22, 2)
        vector = {"full": 1 + index, "two": 1, "one": 0}[self.mode]
        length = ((16 * size + 6 + 2 * size + 63) // 64 * 64) + 6 + 8 * size
        start = self.take(length)
        self.region.write(start, bytes(length))
        queue = Queue(index, size, start, device_vector, vector)
        self.write(0x20, 2, size)
        self.write(0x24, 2, vector)
        self.write(0x28, 8, queue.desc)
        self.write(0x30, 8, queue.avail)
        self.write(0x38, 8, queue.used)
        self.write(0x26, 2, 1)
        self.queues[index] = queue
        return queue

    def driver_ok(self) -> None:
        self.write(0x44, 4, 0xF)

    def delete_queue(self, index: int) -> None:
        """The 32-bit store that also hits the low half of queue_desc, at an address that is no multiple of 4."""
        self.write(0x1C, 4, index)
        self.write(0x26, 4, 0)
        del self.queues[index]

    def remove(self) -> None:
        """Reset without waiting for it, then leave."""
        self.write(0x44, 4, 0)
        self.idle()
        self.region.set_state(FRONTEND, 0)
        self.queues.clear()

    # Requests.

    def request(self, index: int, readable: list[bytes], writable: list[int]) -> bytes:
        """One chain through a queue; the content of its writable part."""
        region, queue = self.region, self.queues[index]
        parts = []
        for data in readable:
            offset = self.take(len(data))
            region.write(offset, data)
            parts.append((offset, len(data), 0))
        parts += [(self.take(length), length, WRITE) for length in writable]
        self.describe(queue, parts)
        self.publish(queue)
        self.await_used(queue)
        answer = b"".join(region.read(offset, length) for offset, length, flags in parts if flags)
        self.next = max((q.used + 6 + 8 * q.size for q in self.queues.values()), default=self.first_free)
        return answer

    def describe(self, queue: Queue, parts: list[tuple[int, int, int]]) -> None:
        def entries() -> bytes:
            last = len(parts) - 1
            return b"".join(
                struct.pack("<QIHH", offset, length, flags | (NEXT if i < last else 0), i + 1 if i < last else 0)
                for i, (offset, length, flags) in enumerate(parts)
            )

        if self.features & INDIRECT and len(parts) > 1:
            table = self.take(16 * len(parts))
            self.region.write(table, entries())
            self.region.write(queue.desc, struct.pack("<QIHH", table, 16 * len(parts), INDIRECT_FLAG, 0))
        else:
            self.region.write(queue.desc, entries())

    def publish(self, queue: Queue) -> None:
        region, old = self.region, queue.avail_index
        region.store(queue.avail + 4 + 2 * (old % queue.size), 2, 0)
        if self.features & EVENT_IDX:
            region.store(queue.avail + 4 + 2 * queue.size, 2, queue.used_index)
        queue.avail_index = (old + 1) & 0xFFFF
        region.store(queue.avail + 2, 2, queue.avail_index)
        if self.features & EVENT_IDX:
            event = region.load(queue.used + 4 + 8 * queue.size, 2)
            wanted = (queue.avail_index - event - 1) & 0xFFFF < 1
        else:
            wanted = not region.load(queue.used, 2) & 1
        if wanted:
            region.ring(BACKEND, queue.device_vector)

    def await_used(self, queue: Queue) -> None:
        """Wait for the interrupt of this mode, and for the shared modes for queue_event as well."""
        region = self.region
        deadline = time.monotonic() + 60
        while True:
            rung = region.wait(FRONTEND, max(deadline - time.monotonic(), 0))
            assert rung, f"no interrupt within 10 s, used index {region.load(queue.used + 2, 2)}"
            if queue.vector not in rung:
                continue
            if self.mode != "full":
                if not region.load(0x41, 1) & 1:
                    continue
                region.store(0x41, 1, 0)
            if region.load(queue.used + 2, 2) != queue.used_index:
                break
        queue.used_index = (queue.used_index + 1) & 0xFFFF
        assert region.load(queue.used + 2, 2) == queue.used_index
