# SPDX-License-Identifier: MIT
"""A region in /dev/shm as a service would leave it, with every word of it in the test's hand and nobody serving."""

from __future__ import annotations

import os

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, FrontendLine, Header, LinkLayout, QueueLine
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.service.config import Config, select_guest
from ivshmem_virtio.service.plan import LinkPlan, plan
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers

EPOCH, SESSION, INCARNATION = 0xE70C, 0x5E55, 0x1CA2
DRIVER_OK = 15


class CraftedLink:
    """One link, back-end published and both sides at work with nothing due."""

    def __init__(self, memory: int, planned: LinkPlan) -> None:
        self.layout: LinkLayout = planned.layout
        self._table = Window(memory, self.layout.offset, self.layout.state_table_size)
        self.window = Window(memory, self.layout.window_offset, self.layout.rw_size)
        self.map = RegisterMap.of(12, planned.shape.queue_sizes)
        self.registers = Registers(self.window, self.map)
        self.queues = [
            QueueState(index, size, 0, self.map.ring_block(index)[0])
            for index, size in enumerate(planned.shape.queue_sizes)
        ]
        self.registers.publish(EPOCH, SESSION, bytes(12), self.queues)
        self.registers.show_queue(self.queues[0])
        self.window.store16(Header.QUEUE_ENABLE, 1)
        self.frontend_word(FrontendLine.INCARNATION, INCARNATION)
        self.window.store32(self.map.frontend_line + FrontendLine.CAPABILITIES, 0b1101)
        self.registers.acknowledge(INCARNATION)
        self.registers.show_status(DRIVER_OK)
        self.set_state(BACKEND, 1)
        self.set_state(FRONTEND, 1)

    def set_state(self, peer: int, value: int) -> None:
        self._table.store32(4 * peer, value)

    def frontend_word(self, offset: int, value: int) -> None:
        self.window.store64(self.map.frontend_line + offset, value)

    def backend_word32(self, offset: int, value: int) -> None:
        self.window.store32(self.map.backend_line + offset, value)

    def set_indices(self, queue: int, available: int, used: int) -> None:
        """Ring indices, as the two sides would have left them."""
        state = self.queues[queue]
        self.window.store16(state.driver + 2, available)
        self.window.store16(state.device + 2, used)

    def own(self, queue: int, word: int) -> None:
        """Somebody has the used ring of a queue."""
        self.window.store32(self.map.queue_line(queue) + QueueLine.OWNER, word)

    def close(self) -> None:
        self.window.close()
        self._table.close()


class CraftedRegion:
    """The region of the only guest of a configuration. ``close`` removes it."""

    def __init__(self, config: Config) -> None:
        self.plan = plan(config, select_guest(config, None))
        self.region = Region.create(self.plan.shared_memory, self.plan.size)
        self.directory = DirectoryWriter(self.region.memory, self.region.size)
        self.directory.set_up(self.plan.layouts)
        self.links = {link.layout.name: CraftedLink(self.region.memory, link) for link in self.plan.links}

    def store(self, offset: int, data: bytes) -> None:
        os.pwrite(self.region.memory, data, offset)

    def content(self) -> bytes:
        return os.pread(self.region.memory, self.region.size, 0)

    def close(self) -> None:
        for link in self.links.values():
            link.close()
        self.region.unlink()
        self.region.close()
