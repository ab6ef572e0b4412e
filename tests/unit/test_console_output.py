# SPDX-License-Identifier: MIT
"""Output that waits for the host: a ring of bytes that a killed process leaves whole."""

from __future__ import annotations

import random

from ivshmem_virtio.devices.console_output import BUFFER_BYTES, OutputBuffer

from .single_step import every_instant
from .split_rig import memory_window


def content(buffer: OutputBuffer) -> bytes:
    """Everything that waits, oldest first; takes nothing."""
    copy = OutputBuffer(memoryview(bytearray(buffer._memory)))
    found = b""
    while copy:
        piece = bytes(copy.oldest(10_000))
        found += piece
        copy.consume(len(piece))
    return found


def test_against_a_plain_model() -> None:
    chance = random.Random(11)
    buffer, model, dropped = OutputBuffer(), b"", 0
    for number in range(1, 300):
        data = chance.randbytes(chance.choice([0, 1, 70, 5000, 64 << 10]))
        excess = max(0, len(model) + len(data) - BUFFER_BYTES)
        model, dropped = (model + data)[excess:], dropped + excess
        buffer.commit(data, number if number % 3 else None)
        taken = min(chance.randrange(20_000), len(buffer.oldest(1 << 20)))
        assert bytes(buffer.oldest(taken)) == model[:taken]
        buffer.consume(taken)
        model = model[taken:]
        assert (len(buffer), buffer.dropped) == (len(model), dropped)
        assert buffer.last_sequence == number - (number % 3 == 0)
    assert dropped
    assert content(buffer) == model


def test_a_successor_finds_it_as_it_was() -> None:
    memory = memoryview(bytearray(OutputBuffer.LENGTH))
    first = OutputBuffer(memory)
    first.commit(b"0123456789", 7)
    first.consume(2)
    first.drop(3)
    second = OutputBuffer(memory)
    assert content(second) == b"56789"
    assert (second.last_sequence, second.dropped) == (7, 3)


def test_a_mark_counts_until_something_is_consumed() -> None:
    buffer = OutputBuffer()
    buffer.commit(b"0123456789")
    buffer.mark(70)
    assert buffer.marked == 70
    buffer.commit(b"more")
    assert buffer.marked == 70
    buffer.consume(1)
    assert buffer.marked is None


def test_killed_at_every_instant() -> None:
    """Each operation is found done or not begun."""
    window = memory_window(OutputBuffer.LENGTH)
    buffer = OutputBuffer(window.view(0, OutputBuffer.LENGTH))
    filler = bytes(BUFFER_BYTES - 3)
    buffer.commit(filler, 1)
    buffer.consume(BUFFER_BYTES - 13)

    def work() -> None:
        buffer.commit(b"abcdefgh", 2)
        buffer.consume(4)
        buffer.drop(2)

    # What is committed goes over the end of the ring: its start shows as well.
    found: list[tuple[bytes, int, int]] = []
    header, tail, head = (0, 128), (OutputBuffer.LENGTH - 16, 16), (128, 16)
    before = window.read(0, OutputBuffer.LENGTH)
    for instant in every_instant(work, lambda: b"".join(window.read(*part) for part in (header, tail, head))):
        memory = bytearray(before)
        for (offset, length), piece in zip(
            (header, tail, head), (instant[:128], instant[128:144], instant[144:]), strict=True
        ):
            memory[offset : offset + length] = piece
        left = OutputBuffer(memoryview(memory))
        state = (content(left), left.last_sequence, left.dropped)
        if not found or state != found[-1]:
            found.append(state)
    zeroes = bytes(10)
    assert found == [
        (zeroes, 1, 0),
        (zeroes + b"abcdefgh", 2, 0),
        (zeroes[4:] + b"abcdefgh", 2, 0),
        (zeroes[6:] + b"abcdefgh", 2, 2),
    ]
