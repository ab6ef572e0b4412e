# SPDX-License-Identifier: MIT
"""An input of the fuzzer, read as a list of small numbers: what to do, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """Numbers from a string of bytes, little endian. Behind the end everything is zero, so each input is a script."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether something is left: the loop of an interpreter ends with its script."""
        return self._at < len(self._data)

    def bytes(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        piece = self._data[self._at : self._at + length]
        self._at += length
        return piece.ljust(length, b"\0")

    def number(self, width: int) -> int:
        """An unsigned number of ``width`` bytes."""
        return int.from_bytes(self.bytes(width), "little")

    def byte(self) -> int:
        return self.number(1)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1, from one byte."""
        return self.byte() % limit

    def choose(self, among: Sequence[T]) -> T:
        """One of these; there must be one."""
        return among[self.below(len(among))]

    def place(self, length: int) -> int:
        """An offset in, or around, a window of ``length`` bytes: two bytes reach both of its edges and beyond them."""
        value = self.number(2)
        return max(length + 0x40 - (value & 0x7FFF), 0) if value & 0x8000 else value

    def width(self) -> int:
        """1, 2, 4 or 8: the bytes of an integer."""
        return 1 << self.below(4)
