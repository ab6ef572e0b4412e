# SPDX-License-Identifier: MIT
"""The server buries the dead: State Table entries zeroed, the other side rung (docs/protocol.md, 3)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ivshmem_virtio.link.directory import DirectoryWriter
from ivshmem_virtio.link.layout import PAGE_SIZE, FrontendLine, Header, LinkLayout
from ivshmem_virtio.peer.unconfigured_links import UnconfiguredLinks

from .raw_client import eventually, readable
from .served_region import SIZE, ServedRegion

BACKEND_ID, OTHER_BACKEND_ID, GUEST_ID = 0, 5, 9


def layout(name: str, offset: int, first: int, backend: int = BACKEND_ID) -> LinkLayout:
    """A link with two vectors each; the front-end's begin at ``first``, the back-end's one later."""
    return LinkLayout(name, 2, offset, 4 * PAGE_SIZE, first, 2, first + 1, 2, backend)


LINKS = [layout("a", 2 * PAGE_SIZE, 0), layout("b", 8 * PAGE_SIZE, 2), layout("c", 16 * PAGE_SIZE, 4, OTHER_BACKEND_ID)]


def fill(served: ServedRegion) -> None:
    """Every State Table entry, and the words around them, as 1s."""
    for link in LINKS:
        served.region.write(link.offset - 4, b"\1\1\1\1" * 4)


def table(served: ServedRegion) -> list[list[int]]:
    """For each link the word before, the two entries, the word after; 1 for untouched."""
    return [[int(served.region.read(link.offset + 4 * word, 4) != bytes(4)) for word in range(-1, 3)] for link in LINKS]


def rung(eventfds: list[int]) -> list[int]:
    """Vectors that were rung since last asked."""
    found = [vector for vector, eventfd in enumerate(eventfds) if readable(eventfd, 0)]
    for vector in found:
        os.eventfd_read(eventfds[vector])
    return found


def test_guest_leaves(served: ServedRegion) -> None:
    path = served.guest("web", GUEST_ID, 8)
    backend, other = served.local(BACKEND_ID, 8), served.local(OTHER_BACKEND_ID, 8)
    served.links = [(link, GUEST_ID) for link in LINKS]
    client = served.connect(path)
    client.messages(3 + 16 + 8)
    fill(served)
    client.close()
    assert eventually(lambda: not served.present(GUEST_ID))
    assert table(served) == [[1, 1, 0, 1]] * 3
    assert rung(backend) == [1, 3]
    assert rung(other) == [5]


def test_backend_leaves(served: ServedRegion) -> None:
    path = served.guest("web", GUEST_ID, 8)
    served.local(BACKEND_ID, 8)
    served.local(OTHER_BACKEND_ID, 8)
    served.links = [(link, GUEST_ID) for link in LINKS]
    client = served.connect(path)
    client.messages(3 + 16 + 8)
    fill(served)
    served.call(lambda: served.server.remove_local_peer(BACKEND_ID))
    assert table(served) == [[1, 0, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]
    assert rung(served.server.doorbells(GUEST_ID)) == [0, 2]
    assert client.message() == (BACKEND_ID, None)


def test_mark_absent_says_nothing_to_clients(served: ServedRegion) -> None:
    path = served.guest("web", GUEST_ID, 8)
    served.local(BACKEND_ID, 8)
    served.links = [(LINKS[0], GUEST_ID)]
    client = served.connect(path)
    client.messages(3 + 8 + 8)
    fill(served)
    served.call(lambda: served.server.mark_absent(BACKEND_ID))
    assert table(served)[0] == [1, 0, 1, 1]
    assert rung(served.server.doorbells(GUEST_ID)) == [0]
    assert client.quiet()


def test_unknown_frontend_is_whoever_is_last(served: ServedRegion) -> None:
    first_path, second_path = served.guest("web", GUEST_ID, 8), served.guest("other", GUEST_ID + 1, 8)
    backend = served.local(BACKEND_ID, 8)
    served.links = [(LINKS[0], None)]
    first, second = served.connect(first_path), served.connect(second_path)
    first.messages(3)
    second.messages(3)
    fill(served)
    first.close()
    assert eventually(lambda: not served.present(GUEST_ID))
    assert table(served)[0] == [1, 1, 1, 1], "the other one may be it"
    second.close()
    assert eventually(lambda: not served.present(GUEST_ID + 1))
    assert table(served)[0] == [1, 1, 0, 1]
    assert rung(backend) == [1]


def test_memory_truncated_by_a_peer_kills_nobody(served: ServedRegion, folder: Path) -> None:
    path = served.guest("web", GUEST_ID, 8)
    served.local(BACKEND_ID, 8)
    behind = layout("behind", SIZE, 0)
    served.links = [(behind, GUEST_ID)]
    client = served.connect(path)
    client.messages(3 + 16)
    client.close()
    assert eventually(lambda: not served.present(GUEST_ID))
    assert os.fstat(served.region.memory).st_size == SIZE
    assert served.connect(path).messages(3)


CLAIMS = [
    ("claimed", GUEST_ID + 1, 0x200, GUEST_ID),
    ("nobody", 0, 0x200, None),
    ("out of range", 0x10001, 0x200, None),
    ("no extension", GUEST_ID + 1, 0, None),
    ("extension behind the window", GUEST_ID + 1, 0xFFFF, None),
]


@pytest.mark.parametrize(("what", "claim", "units", "expected"), CLAIMS, ids=[row[0] for row in CLAIMS])
def test_links_from_the_directory(
    served: ServedRegion, what: str, claim: int, units: int, expected: int | None
) -> None:
    memory = served.region.memory
    source = UnconfiguredLinks(memory)
    assert source() == []
    link = LinkLayout("a", 2, 2 * PAGE_SIZE, 0x10000, 0, 2, 0, 2, BACKEND_ID)
    DirectoryWriter(memory, SIZE).set_up([link])
    os.pwrite(memory, units.to_bytes(2, "little"), link.window_offset + Header.EXT_OFFSET)
    where = units * 64 + 64 + FrontendLine.PEER_PLUS_ONE
    if where < link.rw_size:
        os.pwrite(memory, claim.to_bytes(4, "little"), link.window_offset + where)
    assert source() == [(link, expected)]
    os.pwrite(memory, b"\xff" * 56, 12)
    assert source() == []
