# SPDX-License-Identifier: MIT
"""What a back-end shares of one queue with the stand-in that answers while it is away (docs/protocol.md, 6 and 7)."""

from __future__ import annotations

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import RingViolation
from ivshmem_virtio.link.layout import Owner, QueueLine, next_owner_word, owner_changes, owner_of

TRIES = 4
"""The word changes under us only where a stand-in comes or goes at the same instant."""


class RingNotFree(RingViolation):
    """The front-end's stand-in has a used ring that the back-end is to write (docs/protocol.md, 7)."""


class AnsweredPositionInvalid(RingViolation):
    """The front-end's stand-in says that it has answered up to a slot that the ring does not have."""


class RingShare:
    """The owner word of a queue, whose line is at ``line``, and where its in-flight hint lies; window offsets."""

    def __init__(self, window: Window, line: int, hint: int) -> None:
        self.owner = line + QueueLine.OWNER
        self.hint = hint
        self.word = 0
        """What stands in the owner word as long as the ring is ours; 0 = it is not."""
        self.found = 0
        """What stood there when it was taken."""
        self._window = window
        self._line = line

    def take(self) -> bool:
        """Become the owner, unless the stand-in is: a predecessor that died has left its own word."""
        for _ in range(TRIES):
            found = self._window.load32(self.owner)
            if owner_of(found) not in (Owner.NOBODY, Owner.BACKEND):
                return False
            word = next_owner_word(found, Owner.BACKEND)
            if self._window.compare_exchange32(self.owner, found, word):
                self.found, self.word = found, word
                return True
        return False

    def answered_at(self, kept: int, size: int) -> int | None:
        """Up to which position of a packed ring of ``size`` slots a stand-in has answered since the owner word was
        ``kept``; None = none has. Only after ``take``. Raises AnsweredPositionInvalid.
        """
        answered = self._window.load32(self._line + QueueLine.ANSWERED_OWNER)
        position = self._window.load32(self._line + QueueLine.ANSWERED_POSITION) & 0xFFFF
        if not 0 < owner_changes(answered, kept) <= owner_changes(self.found, kept):
            return None
        if position & 0x7FFF >= size:
            raise AnsweredPositionInvalid(
                f"the driver's stand-in has answered up to slot {position & 0x7FFF} of a ring of {size}"
                " (docs/protocol.md, 7)"
            )
        return position

    def give_back(self) -> None:
        """Let go of the ring, if it is ours still."""
        if self.word:
            free = next_owner_word(self.word, Owner.NOBODY)
            self._window.compare_exchange32(self.owner, self.word, free)
            self.word = 0

    def clear(self) -> None:
        """Nobody's, whatever stands there; only while no front-end is at work."""
        if self._window.load32(self.owner):
            self._window.store32(self.owner, 0)
            self._window.store32(self._line + QueueLine.ANSWERED_OWNER, 0)
