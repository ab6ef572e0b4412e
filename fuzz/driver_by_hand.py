# SPDX-License-Identifier: MIT
"""A driver made of plain stores, right or wrong: transactions, rings and buffers in the window of a link."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fuzz.script import Script
from fuzz.silent_link import SilentLink
from ivshmem_virtio.link.layout import FRONTEND, FrontendLine, Header, SplitPlacement, State
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.transport.features import REQUIRED, Feature, Status
from ivshmem_virtio.transport.transaction import SIZES, Transaction

FIELDS = (*SIZES, Header.CONFIG, Header.CONFIG + 4, Header.CONFIG + 8)
INDICES = 0x10000
BASIC = REQUIRED | Feature.INDIRECT_DESC | Feature.EVENT_IDX
CHAIN_FLAGS = 7


class DriverByHand:
    """Does what a script says; ``look`` is how the device is woken."""

    def __init__(self, script: Script, link: SilentLink, registers: RegisterMap, look: Callable[[], None]) -> None:
        self.script = script
        self.link = link
        self.window = link.window
        self.registers = registers
        self.look = look
        self.features = int(BASIC)

    # -- the header ----------------------------------------------------------------------------------------------------

    def write(self, offset: int, value: int, size: int, word_size: int = 0) -> None:
        """One transaction, and a look of the device at it."""
        self.window.write(offset, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
        self.window.store32(Header.WRITE_TRANSACTION, Transaction.of(offset, word_size, 1).word)
        self.look()

    def transact(self) -> None:
        """A transaction on any field, with any value and any size."""
        offset = self.script.choose(FIELDS)
        size = SIZES.get(offset, (4,))[0]
        shape = self.script.byte()
        value = self.script.number(size) if shape & 0x40 else self.script.byte()
        self.write(offset, value, size, shape & 0xF)

    def transact_nonsense(self) -> None:
        """Any transaction word."""
        self.window.store32(Header.WRITE_TRANSACTION, self.script.number(4))
        self.look()

    def bring_up(self) -> None:
        """Everything in its order, up to DRIVER_OK, with one thing changed or left out where the script says so."""
        odd = self.script.byte()
        self.link.set_other_state(FRONTEND, State.READY)
        self.meet(self.script.byte() + 1)
        status = 0
        for bit in (0, Status.ACKNOWLEDGE, Status.DRIVER):
            status |= bit
            self.write(Header.DEVICE_STATUS, status, 4)
        accepted = self.features ^ (1 << self.script.byte() % 48 if odd & 1 else 0)
        for half in (0, 1):
            self.write(Header.DEVICE_FEATURES_SEL, half, 4)
            self.write(Header.DRIVER_FEATURES_SEL, half, 4)
            self.write(Header.DRIVER_FEATURES, accepted >> 32 * half, 4)
        self.write(Header.DEVICE_STATUS, status | Status.FEATURES_OK, 4)
        for queue in range(len(self.registers.queue_sizes)):
            if not odd & 4 or self.script.byte() & 1:
                self.enable_queue(queue, odd)
        self.write(Header.DEVICE_STATUS, status | Status.FEATURES_OK | Status.DRIVER_OK, 4)

    def enable_queue(self, queue: int, odd: int) -> None:
        """Rings where the host placed them, or moved by a little."""
        self.write(Header.QUEUE_SEL, queue, 4)
        if odd & 8:
            self.write(Header.QUEUE_SIZE, self.script.number(2), 2)
        if odd & 16:
            self.write(Header.QUEUE_DRIVER_VECTOR, self.script.byte(), 2)
        if odd & 32:
            self.write(self.script.choose((Header.QUEUE_DESC, Header.QUEUE_DRIVER, Header.QUEUE_DEVICE)),
                       self.script.place(self.window.length), 8)  # fmt: skip
        self.write(Header.QUEUE_ENABLE, 1, 2)

    def meet(self, incarnation: int) -> None:
        """A front-end of this incarnation, which says what it can do."""
        line = self.registers.frontend_line
        self.window.store32(line + FrontendLine.CAPABILITIES, 0xF)
        self.window.store64(line + FrontendLine.INCARNATION, incarnation)
        self.look()

    def claim_peer(self) -> None:
        """An id that may belong to another guest."""
        self.window.store32(self.registers.frontend_line + FrontendLine.PEER_PLUS_ONE, self.script.byte())
        self.meet(self.script.byte())

    def set_state(self) -> None:
        """The State Table entry of the front-end, any value."""
        self.link.set_other_state(FRONTEND, self.script.byte())
        self.look()

    def poke(self) -> None:
        """Any aligned word of the window."""
        width = self.script.width()
        place = self.script.place(self.window.length) & -width
        if place + width <= self.window.length:
            self.window.write(place, self.script.bytes(width))

    # -- the rings -----------------------------------------------------------------------------------------------------

    def placed(self, queue: int) -> SplitPlacement:
        return SplitPlacement.at(self.registers.ring_block(queue)[0], self.registers.queue_sizes[queue])

    def descriptor(self) -> None:
        """One descriptor of any queue, as wild as the script wants."""
        queue = self.script.below(len(self.registers.queue_sizes))
        number, flags = self.script.byte(), self.script.byte()
        address = self.script.number(8) if flags & 0x80 else self.registers.reserved + self.script.number(2)
        length = self.script.number(4) if flags & 0x40 else self.script.byte()
        self._describe(queue, number, address, length, flags & CHAIN_FLAGS, self.script.byte())

    def _describe(self, queue: int, number: int, address: int, length: int, flags: int, following: int) -> None:
        place = self.placed(queue).desc + 16 * (number % self.registers.queue_sizes[queue])
        self.window.store64(place, address)
        self.window.store64(place + 8, length | flags << 32 | following << 48)

    def make_available(self) -> None:
        """An entry of an available ring, and a kick."""
        queue, head = self.script.below(len(self.registers.queue_sizes)), self.script.byte()
        self._offer(queue, head & 0x7F, self.script.number(2) if head & 0x80 else 1)
        self.look()

    def _offer(self, queue: int, head: int, ahead: int = 1) -> None:
        driver = self.placed(queue).driver
        index = self.window.load16(driver + 2)
        self.window.store16(driver + 4 + 2 * (index % self.registers.queue_sizes[queue]), head)
        self.window.store16(driver + 2, (index + ahead) % INDICES)

    def request(self, queue: int, readable: Sequence[bytes], writable: Sequence[int]) -> None:
        """A chain as a good driver makes it, from descriptor 0 on, and a kick."""
        place = self.registers.reserved
        parts = [(len(data), 0) for data in readable] + [(length, 2) for length in writable]
        for number, (length, flags) in enumerate(parts):
            if number < len(readable) and place + length <= self.window.length:
                self.window.write(place, readable[number])
            last = number + 1 == len(parts)
            self._describe(queue, number, place, length, flags | (not last), number + 1)
            place += length
        self._offer(queue, 0)
        self.look()
