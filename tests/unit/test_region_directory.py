# SPDX-License-Identifier: MIT
"""The directory: what is written, what is believed, what happens while it changes (docs/protocol.md, 2)."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivshmem_virtio.link import directory_errors as errors
from ivshmem_virtio.link.directory import DirectoryWriter, read_directory, read_entries, read_entries_of
from ivshmem_virtio.link.directory_errors import DirectoryError
from ivshmem_virtio.link.layout import (
    DIRECTORY_ENTRIES,
    DIRECTORY_MAGIC,
    DIRECTORY_SIZE,
    PAGE_SIZE,
    EntryState,
    LinkLayout,
)
from ivshmem_virtio.link.state_table import NoSuchStateEntry, StateTableOutsideMemory, entry_offset, zero_entry
from ivshmem_virtio.memory.region import Region

SIZE = 1 << 22
LENGTH = 4 * PAGE_SIZE


def link(number: int, name: str | None = None) -> LinkLayout:
    """The link number ``number`` of many."""
    offset = DIRECTORY_SIZE + number * (LENGTH + PAGE_SIZE)
    return LinkLayout(name or f"link{number}", 1 + number % 8, offset, LENGTH, number, 3, 2 * number, 2, 7)


@pytest.fixture
def memory() -> Iterator[int]:
    """A region."""
    with Region.create_anonymous(SIZE) as region:
        yield region.memory


def test_bytes_of_a_directory(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([LinkLayout("déjà", 0x102, 0x3000, 0x4000, 0x506, 7, 0x809, 0xA, 0xBCD, 0x2000, 0x1000)])
    assert os.pread(memory, 0x20, 0) == DIRECTORY_MAGIC + struct.pack("<IIQII", 1, 8192, SIZE, 1, 64)
    entry = os.pread(memory, 64, 0x40)
    assert entry[0] % 2 == 0
    assert entry[4:] == struct.pack(
        "<IIIQQIIHHHH16s", 1, 0x102, 0xBCD, 0x3000, 0x4000, 0x2000, 0x1000, 0x506, 7, 0x809, 0xA, "déjà".encode()
    )


def test_links_come_and_go(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    assert DIRECTORY_ENTRIES >= 64
    with pytest.raises(errors.DirectoryAbsent):
        read_directory(memory)
    writer.set_up()
    assert read_directory(memory) == []
    for number in range(4):
        writer.add(link(number))
    assert read_directory(memory) == [link(number) for number in range(4)]
    writer.begin_removal("link1")
    assert [(e.number, e.state) for e in read_entries_of(memory)] == [
        (0, EntryState.IN_USE),
        (1, EntryState.REMOVING),
        (2, EntryState.IN_USE),
        (3, EntryState.IN_USE),
    ]
    assert read_directory(memory) == [link(0), link(2), link(3)]
    writer.remove("link1")
    writer.remove("link3")
    assert os.pread(memory, 4, 0x18) == b"\3\0\0\0", "later entries are all free"
    writer.add(link(9))
    assert [(e.number, e.layout.name) for e in read_entries_of(memory)] == [(0, "link0"), (1, "link9"), (2, "link2")]
    assert writer.links == [link(0), link(9), link(2)]


def test_every_entry_can_be_used(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up(link(number) for number in range(DIRECTORY_ENTRIES))
    assert len(read_directory(memory)) == DIRECTORY_ENTRIES
    with pytest.raises(errors.DirectoryFull, match="one-too-many"):
        writer.add(link(DIRECTORY_ENTRIES, "one-too-many"))


def test_writer_believes_nothing_it_reads(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([link(0)])
    os.pwrite(memory, b"\xff" * 1024, 0x40)
    writer.begin_removal("link0")
    assert [entry.layout for entry in read_entries_of(memory)] == [link(0)]


def test_successor_takes_over(memory: int) -> None:
    first = DirectoryWriter(memory, SIZE)
    first.set_up([link(0), link(1)])
    first.remove("link0")
    second = DirectoryWriter(memory, SIZE)
    second.take_over(first.slots())
    assert read_directory(memory) == [link(1)], "nothing is disturbed"
    second.add(link(2))
    second.remove("link1")
    assert read_directory(memory) == [link(2)]


BAD_LINKS: list[tuple[str, dict[str, object], type[DirectoryError]]] = [
    ("device 0", {"device_id": 0}, errors.EntryDeviceInvalid),
    ("peer", {"backend_peer": 65536}, errors.EntryPeerInvalid),
    ("offset unaligned", {"offset": DIRECTORY_SIZE + 64}, errors.EntryMisaligned),
    ("window unaligned", {"rw_size": LENGTH + 1}, errors.EntryMisaligned),
    ("state table unaligned", {"state_table_size": 5000}, errors.EntryMisaligned),
    ("output unaligned", {"output_size": 1}, errors.EntryMisaligned),
    ("window too small", {"rw_size": PAGE_SIZE}, errors.EntryTooSmall),
    ("no window", {"rw_size": 0}, errors.EntryTooSmall),
    ("no state table", {"state_table_size": 0}, errors.EntryTooSmall),
    ("in the directory", {"offset": PAGE_SIZE}, errors.EntryOverlapsDirectory),
    ("at 0", {"offset": 0}, errors.EntryOverlapsDirectory),
    ("behind the region", {"offset": SIZE}, errors.EntryOutsideRegion),
    ("too long", {"rw_size": SIZE}, errors.EntryOutsideRegion),
    ("wraps", {"offset": (1 << 64) - PAGE_SIZE}, errors.EntryOutsideRegion),
    ("output too long", {"output_size": SIZE // 2}, errors.EntryOutsideRegion),
    ("no front-end vector", {"frontend_vectors": 0}, errors.EntryVectorsInvalid),
    ("no back-end vector", {"backend_vectors": 0}, errors.EntryVectorsInvalid),
    ("vectors wrap", {"frontend_vector": 0xFFFF, "frontend_vectors": 2}, errors.EntryVectorsInvalid),
    ("overlap", {"offset": DIRECTORY_SIZE + 3 * PAGE_SIZE}, errors.EntryOverlapsLink),
    ("same place", {"offset": link(0).offset}, errors.EntryOverlapsLink),
]


@pytest.mark.parametrize(("what", "changes", "error"), BAD_LINKS, ids=[row[0] for row in BAD_LINKS])
def test_bad_links_are_neither_written_nor_believed(
    memory: int, what: str, changes: dict[str, object], error: type[DirectoryError]
) -> None:
    bad = replace(link(1, "bad"), **changes)  # type: ignore[arg-type]  # each row has the types of its fields
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([link(0), link(1, "bad"), link(20)])
    write_unchecked(memory, 1, bad)
    with pytest.raises(error, match=r"entry 1: .*'bad'") as caught:
        read_directory(memory)
    assert "\n" not in str(caught.value)
    rejected: list[tuple[int, type[DirectoryError]]] = []
    assert read_directory(memory, lambda number, reason: rejected.append((number, type(reason)))) == [link(0), link(20)]
    assert rejected == [(1, error)]
    writer.remove("bad")
    with pytest.raises(error, match="'bad'"):
        writer.add(bad)
    assert read_directory(memory) == [link(0), link(20)]


def write_unchecked(memory: int, number: int, bad: LinkLayout) -> None:
    """An entry as a hostile peer would write it."""
    body = struct.pack(
        "<IIIIQQIIHHHH16s",
        2,
        1,
        bad.device_id,
        bad.backend_peer,
        bad.offset,
        bad.rw_size,
        bad.state_table_size,
        bad.output_size,
        bad.frontend_vector,
        bad.frontend_vectors,
        bad.backend_vector,
        bad.backend_vectors,
        bad.name.encode(),
    )
    os.pwrite(memory, body, 0x40 + 64 * number)


BAD_BYTES: list[tuple[str, int, bytes, type[DirectoryError]]] = [
    ("magic", 0, b"IVSHMVIP", errors.DirectoryAbsent),
    ("version", 8, b"\2", errors.DirectoryVersionUnknown),
    ("directory size 0", 0xC, bytes(4), errors.DirectorySizeInvalid),
    ("directory size unaligned", 0xC, b"\1\x20", errors.DirectorySizeInvalid),
    ("directory size huge", 0xC, b"\0\xf0\xff\xff", errors.DirectorySizeInvalid),
    ("region size 0", 0x10, bytes(8), errors.RegionSizeInvalid),
    ("region size unaligned", 0x10, b"\1", errors.RegionSizeInvalid),
    ("region size huge", 0x10, b"\0" * 7 + b"\1", errors.RegionSizeInvalid),
    ("link count", 0x18, b"\x80", errors.LinkCountInvalid),
    ("link count huge", 0x18, b"\xff\xff\xff\xff", errors.LinkCountInvalid),
    ("entry size", 0x1C, b"\x20", errors.EntrySizeInvalid),
    ("sequence odd", 0x40, b"\1", errors.EntryUnsettled),
    ("state", 0x44, b"\3", errors.EntryStateUnknown),
    ("name empty", 0x70, bytes(16), errors.EntryNameInvalid),
    ("name not UTF-8", 0x70, b"\xff\xfe", errors.EntryNameInvalid),
    ("name with zero inside", 0x71, b"\0", errors.EntryNameInvalid),
    ("name with escape", 0x70, b"\x1b[2J", errors.EntryNameInvalid),
]


@pytest.mark.parametrize(("what", "offset", "data", "error"), BAD_BYTES, ids=[row[0] for row in BAD_BYTES])
def test_bad_bytes(memory: int, what: str, offset: int, data: bytes, error: type[DirectoryError]) -> None:
    DirectoryWriter(memory, SIZE).set_up([link(0)])
    os.pwrite(memory, data, offset)
    with pytest.raises(error) as caught:
        read_directory(memory)
    assert "\n" not in str(caught.value)


def test_short_memory() -> None:
    memory = os.memfd_create("short")
    try:
        with pytest.raises(errors.DirectoryTooShort):
            read_directory(memory)
        os.ftruncate(memory, SIZE)
        DirectoryWriter(memory, SIZE).set_up([link(0)])
        with pytest.raises(errors.DirectoryTooShort):
            read_entries(lambda offset, length: os.pread(memory, max(0, min(length, 70 - offset)), offset), SIZE)
    finally:
        os.close(memory)


BAD_NAMES = ["", "seventeen-letters", "ünününününü", "a\0b", "a\nb"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(memory: int, name: str) -> None:
    with pytest.raises(errors.EntryNameInvalid):
        DirectoryWriter(memory, SIZE).set_up([replace(link(0), name=name)])


REFUSED: list[tuple[str, Callable[[DirectoryWriter], None], type[DirectoryError]]] = [
    ("same name", lambda writer: writer.add(link(1, "link0")), errors.LinkNameTaken),
    ("remove unknown", lambda writer: writer.remove("nix"), errors.NoSuchLink),
    ("begin to remove unknown", lambda writer: writer.begin_removal("nix"), errors.NoSuchLink),
]


@pytest.mark.parametrize(("what", "act", "error"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(memory: int, what: str, act: Callable[[DirectoryWriter], None], error: type[DirectoryError]) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([link(0)])
    with pytest.raises(error):
        act(writer)
    assert read_directory(memory) == [link(0)]


@pytest.mark.parametrize("size", [0, 100, 4097, SIZE * 2])
def test_bad_directory_size(memory: int, size: int) -> None:
    with pytest.raises(errors.DirectorySizeInvalid):
        DirectoryWriter(memory, SIZE, size)


EXCHANGE = f"""
import sys
from ivshmem_virtio.link.directory import DirectoryWriter, read_directory
memory = int(sys.argv[1])
three, forty = read_directory(memory)
writer = DirectoryWriter(memory, {SIZE})
writer.set_up([three])
print("writing", flush=True)
while True:
    for old, new in ((three, forty), (forty, three)):
        writer.remove(old.name)
        writer.add(new)
"""


def test_reader_never_sees_half_an_entry(memory: int) -> None:
    """Another process exchanges two links with nothing in common, in one entry, as fast as it can."""
    versions = {layout.name: layout for layout in (link(3, "three"), link(40, "forty"))}
    DirectoryWriter(memory, SIZE).set_up(versions.values())
    writer = subprocess.Popen([sys.executable, "-c", EXCHANGE, str(memory)], pass_fds=[memory], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + 60
    try:
        while (len(seen) < 2 or seen.total() < 2000) and time.monotonic() < deadline:
            try:
                found = read_directory(memory)
            except errors.EntryUnsettled:
                continue
            for layout in found:
                assert layout == versions[layout.name]
                seen[layout.name] += 1
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert set(seen) == {"three", "forty"}


def test_change_between_two_reads_is_read_again(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([link(0)])
    reads = 0

    def source(offset: int, length: int) -> bytes:
        nonlocal reads
        reads += offset == 0x44
        data = os.pread(memory, length, offset)
        if reads == 1 and offset == 0x44:
            writer.remove("link0")
            writer.add(link(5))
        return data

    assert [entry.layout for entry in read_entries(source, SIZE)] == [link(5)]
    assert reads == 2


def test_entry_that_never_settles_is_given_up(memory: int) -> None:
    writer = DirectoryWriter(memory, SIZE)
    writer.set_up([link(0)])

    def source(offset: int, length: int) -> bytes:
        data = os.pread(memory, length, offset)
        if offset == 0x44:
            writer.begin_removal("link0")
        return data

    with pytest.raises(errors.EntryUnsettled):
        read_entries(source, SIZE)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=0x120, max_size=0x120), st.lists(st.integers(0, 0x11F), max_size=12))
def test_no_bytes_lead_out_of_the_region(noise: bytes, places: list[int]) -> None:
    """A valid directory with random bytes in it is read as links that obey every rule, or refused by a named rule."""
    image = bytearray(SIZE_OF_NOISE)
    memory = os.memfd_create("noise")
    try:
        os.ftruncate(memory, SIZE)
        DirectoryWriter(memory, SIZE).set_up([link(0), link(1), link(2)])
        image[:] = os.pread(memory, SIZE_OF_NOISE, 0)
        for place in places:
            image[place] = noise[place]
        os.pwrite(memory, image, 0)
        try:
            found = read_directory(memory)
        except DirectoryError:
            return
        for layout in found:
            assert DIRECTORY_SIZE // 2 <= layout.offset < layout.end <= SIZE
            assert layout.rw_size >= 2 * PAGE_SIZE
    finally:
        os.close(memory)


SIZE_OF_NOISE = 0x120


def test_state_table(memory: int) -> None:
    os.pwrite(memory, b"\1" * 16, link(2).offset)
    zero_entry(memory, link(2), 1)
    assert os.pread(memory, 16, link(2).offset) == b"\1" * 4 + bytes(4) + b"\1" * 8
    zero_entry(memory, link(2), 0)
    assert os.pread(memory, 16, link(2).offset) == bytes(8) + b"\1" * 8
    assert (entry_offset(0), entry_offset(1)) == (0, 4)
    with pytest.raises(NoSuchStateEntry, match="peer 2"):
        zero_entry(memory, link(2), 2)
    with pytest.raises(StateTableOutsideMemory, match="behind"):
        zero_entry(memory, replace(link(2, "behind"), offset=SIZE), 0)
    assert os.fstat(memory).st_size == SIZE
