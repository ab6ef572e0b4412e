# SPDX-License-Identifier: MIT
"""Output on its way to the host, in memory that may outlive the process.

A successor of a killed process finds every byte that was committed and not consumed, and knows which buffer of the
driver was the last to be committed. Numbers that belong together are written to the slot that does not count, and then
made to count by one store.
"""

from __future__ import annotations

BUFFER_BYTES = 256 << 10
_HEADER = 128
_COMMITTED = 0
"""Index, in words of 8 bytes, of: which of two slots counts, then the slots (bytes ever committed, last sequence)."""
_TAKEN = 5
"""The same for (bytes ever consumed or dropped, bytes ever dropped)."""
_MARK = 10
"""The same for (length of the file before a write, bytes ever consumed or dropped at that time)."""


class OutputBuffer:
    """A ring of bytes that loses its oldest when it is full, and counts them.

    ``memory`` has LENGTH bytes: zeroes at first, later what an OutputBuffer left there.
    """

    LENGTH = _HEADER + BUFFER_BYTES

    def __init__(self, memory: memoryview | None = None) -> None:
        self._memory = memory if memory is not None else memoryview(bytearray(self.LENGTH))
        self._words = self._memory[:_HEADER].cast("Q")
        self._data = self._memory[_HEADER : self.LENGTH]

    def release(self) -> None:
        """Let go of the memory."""
        for view in (self._words, self._data, self._memory):
            view.release()

    def __len__(self) -> int:
        return self._pair(_COMMITTED)[0] - self._pair(_TAKEN)[0]

    @property
    def last_sequence(self) -> int:
        """Number of the driver's buffer that was committed last."""
        return self._pair(_COMMITTED)[1]

    @property
    def dropped(self) -> int:
        """Bytes that were lost, ever."""
        return self._pair(_TAKEN)[1]

    def room(self, length: int) -> int:
        """Bytes that have to be dropped before ``length`` more can be committed."""
        return max(0, len(self) + length - BUFFER_BYTES)

    def commit(self, data: bytes, sequence: int | None = None) -> None:
        """Append up to BUFFER_BYTES, dropping the oldest where they are in the way.

        ``sequence``: of the driver's buffer that ends with them.
        """
        self.drop(self.room(len(data)))
        end, last = self._pair(_COMMITTED)
        place = end % BUFFER_BYTES
        first = min(len(data), BUFFER_BYTES - place)
        self._data[place : place + first] = data[:first]
        self._data[: len(data) - first] = data[first:]
        self._set_pair(_COMMITTED, end + len(data), last if sequence is None else sequence)

    def oldest(self, most: int) -> memoryview:
        """Up to ``most`` of the oldest bytes, as far as they lie together."""
        place = self._pair(_TAKEN)[0] % BUFFER_BYTES
        return self._data[place : min(place + most, place + len(self), BUFFER_BYTES)]

    def consume(self, count: int) -> None:
        """The oldest ``count`` bytes have reached the host."""
        taken, dropped = self._pair(_TAKEN)
        self._set_pair(_TAKEN, taken + count, dropped)

    def drop(self, count: int) -> None:
        """The oldest ``count`` bytes are lost."""
        if count > 0:
            taken, dropped = self._pair(_TAKEN)
            self._set_pair(_TAKEN, taken + count, dropped + count)

    def mark(self, length: int) -> None:
        """The oldest bytes are about to be written behind ``length`` bytes of a file."""
        self._set_pair(_MARK, length, self._pair(_TAKEN)[0])

    @property
    def marked(self) -> int | None:
        """The last mark, where nothing has been consumed since."""
        length, taken = self._pair(_MARK)
        return length if taken == self._pair(_TAKEN)[0] else None

    def _pair(self, at: int) -> tuple[int, int]:
        slot = at + 1 + 2 * (self._words[at] & 1)
        return self._words[slot], self._words[slot + 1]

    def _set_pair(self, at: int, first: int, second: int) -> None:
        other = 1 - (self._words[at] & 1)
        slot = at + 1 + 2 * other
        self._words[slot], self._words[slot + 1] = first, second
        self._words[at] = other
