# SPDX-License-Identifier: MIT
"""Write transactions: how a driver changes a field of the header (docs/protocol.md, 5)."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.peer.link import Link
from ivshmem_virtio.transport.driver.errors import FieldNotWritable, TransactionTimedOut
from ivshmem_virtio.transport.driver.wait import Patience
from ivshmem_virtio.transport.transaction import SIZES, Transaction

LARGEST_OFFSET = 0xFFFF
SEQUENCE_MASK = 0xFFF


class Transactions:
    """One driver's transactions.

    ``standing`` waits for the back-end until a deadline and returns its state and epoch, or raises why it will not do;
    a transaction counts only if that was the same before and after, else it is repeated, which does no harm.
    """

    def __init__(
        self,
        link: Link,
        patience: Patience,
        standing: Callable[[float], tuple[int, int]],
        *,
        sized: bool,
        vector: int,
    ) -> None:
        self._link = link
        self._patience = patience
        self._standing = standing
        self._sized = sized
        self._vector = vector
        self._sequence = secrets.randbelow(SEQUENCE_MASK + 1)

    def field(self, offset: int, value: int, seconds: float) -> None:
        """Write a register; raises FieldNotWritable, TransactionTimedOut and what ``standing`` raises."""
        sizes = SIZES.get(offset)
        if sizes is None:
            raise FieldNotWritable(f"header offset {offset:#x} is no register a driver may write")
        self.write(offset, value.to_bytes(sizes[0], "little"), seconds)

    def write(self, offset: int, value: bytes, seconds: float) -> None:
        """Write ``value`` at ``offset`` and wait, ``seconds`` at most, until the back-end has acted on it."""
        if len(value) not in (1, 2, 4, 8) or not 0 < offset <= LARGEST_OFFSET:
            raise FieldNotWritable(
                f"{len(value)} bytes at {offset:#x}: only 1, 2, 4 or 8 bytes below 0x10000 can be written"
            )
        deadline = self._patience.now() + seconds
        while True:
            before = self._standing(deadline)
            self._wait_idle(deadline)
            self._link.window.write(offset, value)
            self._link.window.store32(Header.WRITE_TRANSACTION, self._word(offset, len(value)))
            self._link.ring(self._vector)
            self._wait_idle(deadline)
            if self._standing(deadline) == before:
                return

    def _word(self, offset: int, size: int) -> int:
        if not self._sized:
            return offset
        self._sequence = (self._sequence + 1) & SEQUENCE_MASK
        return Transaction.of(offset, size, self._sequence).word

    def _wait_idle(self, deadline: float) -> None:
        window = self._link.window
        if self._patience.until(lambda: window.load32(Header.WRITE_TRANSACTION) == 0, deadline):
            return
        self._standing(deadline)
        word = window.load32(Header.WRITE_TRANSACTION)
        if word:
            raise TransactionTimedOut(f"transaction {word:#010x} not served in time: the back-end is there but stuck")
