# SPDX-License-Identifier: MIT
"""Lies in the directory (docs/protocol.md, 2)."""

from __future__ import annotations

from collections.abc import Callable

from ivshmem_virtio.evil.backend.scenario import Group, Play
from ivshmem_virtio.link.layout import (
    DIRECTORY_ENTRIES,
    DIRECTORY_ENTRY_SIZE,
    DIRECTORY_FIRST_ENTRY,
    Directory,
    Entry,
    EntryState,
)

GROUP = Group()
SIZES = {Entry.OFFSET: 8, Entry.RW_SIZE: 8}
SHORT = (Entry.FRONTEND_VECTOR, Entry.FRONTEND_VECTORS, Entry.BACKEND_VECTOR, Entry.BACKEND_VECTORS)


def _store(play: Play, at: int, size: int, value: int) -> None:
    play.stage.region.write(at, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
    play.done += 1


def _entry(play: Play, index: int, field: Entry, value: int) -> None:
    """Change one field, its sequence moved on as a keeper would."""
    at = DIRECTORY_FIRST_ENTRY + index * DIRECTORY_ENTRY_SIZE
    size = SIZES.get(field, 2 if field in SHORT else 4)
    sequence = play.stage.region.load32(at)
    _store(play, at, 4, sequence + 1 | 1)
    _store(play, at + field, size, value)
    _store(play, at, 4, (sequence + 2) & ~1)


def _entries(play: Play, field: Entry, value: Callable[[int], int]) -> None:
    """Change one field of every entry in use, at every turn."""

    def turn() -> None:
        for index in range(len(play.stage.layouts)):
            _entry(play, index, field, value(index))

    play.turns.append(turn)


def _header(play: Play, field: Directory, size: int, values: list[int]) -> None:
    play.turns.append(lambda: _store(play, field, size, play.random.choice(values)))


@GROUP.running("directory-offset", "Links are somewhere else.")
def directory_offset(play: Play) -> None:
    _entries(play, Entry.OFFSET, lambda i: play.random.choice([0, 4096, 1 << 63, 0xFFFFFFFFFFFFF000, 12345, 1 << 21]))


@GROUP.running("directory-window-size", "Windows have other sizes.")
def directory_window_size(play: Play) -> None:
    _entries(play, Entry.RW_SIZE, lambda i: play.random.choice([0, 4096, 8192, 1 << 40, 0xFFFFFFFFFFFFF000, 12288]))


@GROUP.running("directory-table-size", "State Tables have other sizes.")
def directory_table_size(play: Play) -> None:
    _entries(play, Entry.STATE_TABLE_SIZE, lambda i: play.random.choice([0, 8192, 0xFFFFF000, 1 << 20]))


@GROUP.running("directory-output-size", "Output sections have other sizes.")
def directory_output_size(play: Play) -> None:
    _entries(play, Entry.OUTPUT_SIZE, lambda i: play.random.choice([0, 4096, 0xFFFFF000, 0x80000000]))


@GROUP.running("directory-overlap", "All links lie at the same place.")
def directory_overlap(play: Play) -> None:
    _entries(play, Entry.OFFSET, lambda i: play.stage.layouts[0].offset)


@GROUP.running("directory-appearing", "Entries appear and vanish.")
def directory_appearing(play: Play) -> None:
    _entries(play, Entry.STATE, lambda i: play.random.choice([EntryState.FREE, EntryState.IN_USE]))


@GROUP.running("directory-removing", "All links are being removed, and then they are not.")
def directory_removing(play: Play) -> None:
    _entries(play, Entry.STATE, lambda i: play.random.choice([EntryState.REMOVING, EntryState.IN_USE, 3, 0xFFFFFFFF]))


@GROUP.running("directory-sequence-odd", "Entries change for ever.")
def directory_sequence_odd(play: Play) -> None:
    def turn() -> None:
        for index in range(len(play.stage.layouts)):
            _store(play, DIRECTORY_FIRST_ENTRY + index * DIRECTORY_ENTRY_SIZE, 4, play.random.getrandbits(31) << 1 | 1)

    play.turns.append(turn)


@GROUP.running("directory-count", "More links than there is room for.")
def directory_count(play: Play) -> None:
    _header(play, Directory.LINK_COUNT, 4, [0xFFFFFFFF, 0, 1 << 20, DIRECTORY_ENTRIES + 1, DIRECTORY_ENTRIES])


@GROUP.running("directory-crowd", "As many links as the directory holds, all over the same memory.")
def directory_crowd(play: Play) -> None:
    first = play.stage.region.read(DIRECTORY_FIRST_ENTRY, DIRECTORY_ENTRY_SIZE)

    def turn() -> None:
        _store(play, Directory.LINK_COUNT, 4, DIRECTORY_ENTRIES)
        play.stage.region.write(DIRECTORY_FIRST_ENTRY, first * DIRECTORY_ENTRIES)

    play.turns.append(turn)


@GROUP.running("directory-size", "A directory as large as the region, or larger.")
def directory_size(play: Play) -> None:
    _header(play, Directory.DIRECTORY_SIZE, 4, [0, 4096, 0xFFFFF000, 1 << 24, 12345])


@GROUP.running("directory-header", "Version, entry size and region size are random.")
def directory_header(play: Play) -> None:
    play.turns.append(lambda: play.stage.region.write(Directory.VERSION, play.random.randbytes(24)))
    play.done += 1


@GROUP.running("directory-magic", "The magic comes and goes.")
def directory_magic(play: Play) -> None:
    play.turns.append(lambda: play.stage.region.write(0, play.random.choice([b"IVSHMVIO", bytes(8), b"IVSHMVI0"])))
    play.done += 1


@GROUP.running("directory-devices-unknown", "Device types that nobody knows.")
def directory_devices_unknown(play: Play) -> None:
    _entries(play, Entry.DEVICE_ID, lambda i: play.random.choice([0, 0xFFFFFFFF, 4711, 63, 1 << 31]))


@GROUP.running("directory-devices-change", "A link is a disk, a console, an interface in turn.")
def directory_devices_change(play: Play) -> None:
    _entries(play, Entry.DEVICE_ID, lambda i: play.random.randrange(1, 5))


@GROUP.running("directory-vectors", "Links have any vectors.")
def directory_vectors(play: Play) -> None:
    field = play.random.choice(SHORT)
    _entries(play, field, lambda i: play.random.choice([0, 1, 0xFFFF, 64, 2047]))


@GROUP.running("directory-backend-vectors", "The back-end is to be rung at any vector.")
def directory_backend_vectors(play: Play) -> None:
    _entries(play, Entry.BACKEND_VECTOR, lambda i: play.random.getrandbits(16))


@GROUP.running("directory-backend-peer", "The back-end is any peer, also the guest itself.")
def directory_backend_peer(play: Play) -> None:
    _entries(play, Entry.BACKEND_PEER, lambda i: play.random.choice([1, 0xFFFF, 0x10000, 0xFFFFFFFF]))


@GROUP.running("directory-garbage", "The whole directory is random bytes.")
def directory_garbage(play: Play) -> None:
    length = DIRECTORY_FIRST_ENTRY + 8 * DIRECTORY_ENTRY_SIZE
    play.turns.append(lambda: play.stage.region.write(8, play.random.randbytes(length)))
    play.done += 1
