# SPDX-License-Identifier: MIT
"""The back-end of one link: obedient to the protocol in everything for which no string is pulled.

It shares no code with the device side of this package, which refuses to misbehave.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.evil.backend.acts import Act, safely
from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.memory import Memory
from ivshmem_virtio.evil.backend.packed_ring import PACKED
from ivshmem_virtio.evil.backend.queue import PuppetQueue, RingLayout
from ivshmem_virtio.evil.backend.split_ring import SPLIT
from ivshmem_virtio.link.layout import (
    BACKEND,
    FRONTEND,
    LINE_SIZE,
    BackendLine,
    Capability,
    FrontendLine,
    Header,
    LinkLayout,
    QueueLine,
    State,
    ring_block_length,
    round_up,
)
from ivshmem_virtio.transport.features import OFFERED, Feature, Status

CAPABILITIES = Capability.HOST_PLACED_RINGS | Capability.RESUME | Capability.SIZED_TRANSACTIONS | Capability.EVENT_BYTES


Complete = Callable[["Puppet", PuppetQueue, Chain, int], None]
Transact = Callable[["Puppet", int], None]


class Puppet:
    """Plays one device. Its strings: ``lies``, ``complete``, ``transact``, ``muted``, ``silent``, and its act.

    ``packed``: it offers packed rings, and serves them to a driver that accepts.
    """

    def __init__(
        self,
        region: Window,
        layout: LinkLayout,
        act: Act,
        ring: Callable[[int], None],
        random: Random,
        *,
        packed: bool = False,
    ) -> None:
        self.layout = layout
        self.act = act
        self.random = random
        self.memory = Memory(region, layout.window_offset, layout.rw_size)
        self.states = Memory(region, layout.offset, layout.state_table_size)
        self._ring = ring
        self.lies: dict[int, int] = {}
        """Window offset -> the value that is published there instead of the true one."""
        self.complete: Complete = Puppet.push
        self.transact: Transact = Puppet.carry_out
        self.muted = False
        self.silent = False
        self.epoch = 0
        self.acknowledged = 0
        self.heartbeat = 0
        self.status = 0
        self.selected = 0
        self.answered = self.transactions = 0
        self.reached = 0
        """Every status bit a driver has ever set."""
        self.offers_packed = packed
        self.rings: RingLayout = SPLIT
        self.ran_packed = False
        """A driver has run on packed rings."""
        self._features_sel = self._driver_sel = 0
        self.driver_features = 0
        self.queues: list[PuppetQueue] = []
        self.place()

    # Where things lie.

    def place(self) -> None:
        """Compute the layout of registers and rings; anew after the act's queues were changed."""
        self.extension = round_up(Header.CONFIG + max(len(self.act.config), 64), LINE_SIZE)
        count = len(self.act.queue_sizes)
        self.event_bytes = self.extension + 2 * LINE_SIZE
        self.queue_lines = self.event_bytes + round_up(count, LINE_SIZE)
        at = self.queue_lines + count * LINE_SIZE
        self.extension_length = at - self.extension
        self.queues = []
        for index, most in enumerate(self.act.queue_sizes):
            length = ring_block_length(most)
            self.queues.append(PuppetQueue(index, most, at, length, SPLIT))
            at += length
        self.size = round_up(at, LINE_SIZE)

    def line(self, queue: int) -> int:
        """Window offset of a queue's line in the extension."""
        return self.queue_lines + queue * LINE_SIZE

    def put(self, offset: int, size: int, value: int) -> None:
        """Publish a word, or the lie that stands for it."""
        self.memory.store(offset, size, self.lies.get(offset, value))

    # Coming and going.

    def start(self) -> None:
        """A new device with a new epoch."""
        self.place()
        self.epoch = self.random.getrandbits(64) | 1
        self.acknowledged = 0
        self.reset()
        self.set_state(State.ABSENT)
        self.memory.write(0, bytes(min(self.extension + self.extension_length, self.memory.size)))
        self.publish()
        self.set_state(State.READY)

    def publish(self) -> None:
        """Header and extension, whole."""
        self.put(Header.REVISION, 4, 2)
        self.put(Header.SIZE, 4, self.size)
        self.put(Header.EXT_OFFSET, 2, self.extension // LINE_SIZE)
        self.put(Header.CONFIG_GENERATION, 4, 0)
        self.publish_config()
        line = self.extension
        self.put(line + BackendLine.LENGTH, 4, self.extension_length)
        self.put(line + BackendLine.CAPABILITIES, 4, self._capabilities)
        self.put(line + BackendLine.EPOCH, 8, self.epoch)
        self.put(line + BackendLine.SESSION, 8, self.random.getrandbits(64))
        self.put(line + BackendLine.CONFIG_LENGTH, 4, len(self.act.config))
        self.put(line + BackendLine.INCARNATION_ACKNOWLEDGED, 8, self.acknowledged)
        self.put(line + BackendLine.BACKEND_CONFIG_VECTOR, 2, 0)
        self.put(line + BackendLine.QUEUE_COUNT, 2, len(self.queues))
        for queue in self.queues:
            at = self.line(queue.index)
            self.put(at + QueueLine.OWNER, 4, 0)
            self.put(at + QueueLine.IN_FLIGHT, 4, 0)
            self.put(at + QueueLine.RING_OFFSET, 8, queue.block)
            self.put(at + QueueLine.RING_LENGTH, 4, queue.length)

    @property
    def _capabilities(self) -> Capability:
        return CAPABILITIES | Capability.ANSWERED_POSITION if self.offers_packed else CAPABILITIES

    def publish_config(self) -> None:
        """The device's configuration space."""
        self.memory.write(Header.CONFIG, bytes(self.act.config))

    def stop(self) -> None:
        """Absent, as after kill -9."""
        self.set_state(State.ABSENT)

    def set_state(self, value: int) -> None:
        """Own State Table entry, and the other side's vector 0."""
        self.states.store(4 * BACKEND, 4, value)
        self.ring(0)

    def ring(self, vector: int) -> None:
        """Ring a link-relative vector of the front-end."""
        if not self.silent:
            self._ring(self.layout.frontend_vector + vector)

    def reset(self) -> None:
        """Device reset: private state only."""
        self.status = self.selected = self._features_sel = self._driver_sel = self.driver_features = 0
        self.rings = SPLIT
        for queue in self.queues:
            queue.reset(SPLIT)

    @property
    def running(self) -> bool:
        """Whether the driver has said DRIVER_OK."""
        return bool(self.status & Status.DRIVER_OK)

    @property
    def live(self) -> list[PuppetQueue]:
        """The queues that the driver has made live."""
        return [queue for queue in self.queues if queue.enabled and queue.size]

    # One look, as docs/protocol.md has it: front-end, incarnation, transaction, queues.

    def look(self) -> None:
        """Do whatever the front-end waits for."""
        if self.muted or not self.states.load(4 * FRONTEND, 4):
            return
        self._acknowledge()
        word = self.memory.load(Header.WRITE_TRANSACTION, 4)
        if word:
            self.transactions += 1
            self.transact(self, word)
        if self.running:
            for queue in self.queues:
                if queue.enabled:
                    self.serve(queue)

    def beat(self) -> None:
        """Count the heartbeat up."""
        self.heartbeat += 1
        self.put(self.extension + BackendLine.HEARTBEAT, 4, self.heartbeat)

    def _acknowledge(self) -> None:
        incarnation = self.memory.load(self.extension + LINE_SIZE + FrontendLine.INCARNATION, 8)
        if incarnation == self.acknowledged:
            return
        self.reset()
        self.acknowledged = incarnation
        self.put(Header.DEVICE_STATUS, 4, 0)
        self.put(self.extension + BackendLine.INCARNATION_ACKNOWLEDGED, 8, incarnation)
        self.ring(0)

    # Transactions.

    def carry_out(self, word: int) -> None:
        """Act on a transaction, then clear its word by compare-and-swap."""
        self.act_on(word & 0xFFFF)
        self.memory.exchange(Header.WRITE_TRANSACTION, word, 0)

    def act_on(self, offset: int) -> None:
        """What the register at ``offset`` holds now is what the driver wrote."""
        load = self.memory.load
        queue = self.queues[self.selected] if self.selected < len(self.queues) else None
        if offset == Header.DEVICE_FEATURES_SEL:
            self._features_sel = load(offset, 4)
            self.show_features()
        elif offset == Header.DRIVER_FEATURES_SEL:
            self._driver_sel = load(offset, 4)
        elif offset == Header.DRIVER_FEATURES:
            shift = 32 * (self._driver_sel & 1)
            self.driver_features &= ~(0xFFFFFFFF << shift)
            self.driver_features |= load(offset, 4) << shift
        elif offset == Header.QUEUE_SEL:
            self.selected = load(offset, 4)
            self.show_queue()
        elif offset == Header.DEVICE_STATUS:
            self._new_status(load(offset, 4))
        elif queue is not None:
            self._write_queue(queue, offset)

    def show_features(self) -> None:
        """The half of the offer that the driver chose to see."""
        offer = self.act.features | OFFERED | (Feature.RING_PACKED if self.offers_packed else 0)
        self.put(Header.DEVICE_FEATURES, 4, offer >> 32 * self._features_sel if self._features_sel < 2 else 0)

    def show_queue(self) -> None:
        """The registers of the selected queue."""
        queue = self.queues[self.selected] if self.selected < len(self.queues) else None
        self.put(Header.QUEUE_SIZE, 2, queue.most if queue else 0)
        self.put(Header.QUEUE_DEVICE_VECTOR, 2, 1 + queue.index if queue else 0)
        self.put(Header.QUEUE_DRIVER_VECTOR, 2, queue.vector if queue else 0)
        self.put(Header.QUEUE_ENABLE, 2, queue.enabled if queue else 0)
        self.put(Header.QUEUE_DESC, 8, queue.desc if queue else 0)
        self.put(Header.QUEUE_DRIVER, 8, queue.driver if queue else 0)
        self.put(Header.QUEUE_DEVICE, 8, queue.device if queue else 0)

    def _new_status(self, status: int) -> None:
        if not status & 0xFF:
            self.reset()
        elif status & Status.FEATURES_OK and not self.status & Status.FEATURES_OK:
            self._lay_out()
        self.status = status & 0xFF & ~Status.NEEDS_RESET
        self.reached |= self.status
        self.ran_packed |= self.running and self.rings.packed
        self.put(Header.DEVICE_STATUS, 4, self.status)

    def _lay_out(self) -> None:
        """Rings as they were agreed upon."""
        self.rings = PACKED if self.offers_packed and self.driver_features & Feature.RING_PACKED else SPLIT
        for queue in self.queues:
            queue.lay_out(self.rings)

    def _write_queue(self, queue: PuppetQueue, offset: int) -> None:
        load = self.memory.load
        if offset == Header.QUEUE_SIZE:
            queue.size = load(offset, 2)
        elif offset == Header.QUEUE_DRIVER_VECTOR:
            queue.vector = load(offset, 2)
        elif offset == Header.QUEUE_ENABLE:
            queue.enabled = load(offset, 2)
            queue.begin()
            self.put(Header.QUEUE_ENABLE, 2, queue.enabled)
        elif offset == Header.QUEUE_DESC:
            queue.desc = load(offset, 8)
        elif offset == Header.QUEUE_DRIVER:
            queue.driver = load(offset, 8)
        elif offset == Header.QUEUE_DEVICE:
            queue.device = load(offset, 8)

    # Queues.

    def serve(self, queue: PuppetQueue) -> None:
        """Take every chain that is there and answer it; then one interrupt."""
        before = self.answered
        try:
            self._take(queue)
            self._deliver(queue)
        except OutsideWindow:
            return
        if self.answered != before:
            self.interrupt(queue)

    def interrupt(self, queue: PuppetQueue) -> None:
        """Event bytes, then the vector the driver chose."""
        self.memory.store(self.event_bytes + queue.index, 1, 1)
        self.memory.store(Header.QUEUE_EVENT, 1, 1)
        self.ring(queue.vector)

    def _take(self, queue: PuppetQueue) -> None:
        for _ in range(max(queue.size, 1)):
            chain = queue.layout.take(self.memory, queue)
            if chain is None:
                break
            written = safely(self.act, self.memory, queue.index, chain, self.random, kept=False)
            if written is None:
                queue.kept.append(chain)
            else:
                self._done(queue, chain, written)
        queue.layout.ask(self.memory, queue)

    def _deliver(self, queue: PuppetQueue) -> None:
        while queue.kept:
            written = safely(self.act, self.memory, queue.index, queue.kept[0], self.random, kept=True)
            if written is None:
                return
            self._done(queue, queue.kept.pop(0), written)

    def _done(self, queue: PuppetQueue, chain: Chain, written: int) -> None:
        self.answered += 1
        self.complete(self, queue, chain, written)

    def push(self, queue: PuppetQueue, chain: Chain, written: int) -> None:
        """One honest used element."""
        self.push_element(queue, chain.head, written, chain.step)

    def push_element(self, queue: PuppetQueue, identity: int, length: int, step: int = 1) -> None:
        """One used element of any content, the used position moved by ``step``."""
        queue.layout.use(self.memory, queue, identity, length, step)
