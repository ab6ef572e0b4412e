# SPDX-License-Identifier: MIT
"""A link between two processes' worth of peers: states, doorbells, vectors that are short, slices that are mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ivshmem_virtio.link.layout import BACKEND, FRONTEND, PAGE_SIZE, LinkLayout, State
from ivshmem_virtio.memory.errors import OutsideRegion
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.doorbells import Doorbells
from ivshmem_virtio.peer.errors import NoOwnVectors
from ivshmem_virtio.peer.v1 import V1Link

from .raw_client import readable
from .served_region import ServedRegion

LAYOUT = LinkLayout("a", 2, 4 * PAGE_SIZE, 4 * PAGE_SIZE, 1, 3, 4, 2, 0)


class Pair:
    """Both sides on eventfds of their own, eight each."""

    def __init__(self, layout: LinkLayout = LAYOUT, frontend_vectors: int = 8) -> None:
        self.region = Region.create_anonymous(1 << 20)
        self.backend_fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        # As some servers make them.
        self.frontend_fds = [os.eventfd(0) for _ in range(frontend_vectors)]
        self.to_backend, self.to_frontend = Doorbells(self.backend_fds), Doorbells(self.frontend_fds)
        memory = self.region.memory
        self.backend = V1Link.map(memory, layout, BACKEND, self.backend_fds, self.to_frontend, lambda peer: peer == 9)
        self.frontend = V1Link.map(memory, layout, FRONTEND, self.frontend_fds, self.to_backend, lambda peer: peer == 0)

    def rung(self) -> tuple[list[int], list[int]]:
        """Absolute vectors with something in them: back-end's, front-end's."""
        return (
            [vector for vector, fd in enumerate(self.backend_fds) if readable(fd, 0)],
            [vector for vector, fd in enumerate(self.frontend_fds) if readable(fd, 0)],
        )

    def close(self) -> None:
        """Everything away."""
        self.backend.close()
        self.frontend.close()
        for descriptor in (*self.backend_fds, *self.frontend_fds):
            os.close(descriptor)
        self.region.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both sides."""
    made = Pair()
    yield made
    made.close()


def test_states_cross_and_ring_vector_0(pair: Pair) -> None:
    pair.backend.set_state(State.READY)
    assert (pair.backend.own_state(), pair.frontend.other_state()) == (1, 1)
    assert (pair.backend.other_state(), pair.frontend.own_state()) == (0, 0)
    assert pair.rung() == ([], [1])
    pair.frontend.set_state(State.RESUMING)
    assert (pair.frontend.own_state(), pair.backend.other_state()) == (2, 2)
    assert pair.rung() == ([4], [1])
    assert pair.region.read(LAYOUT.offset, 12) == b"\1\0\0\0\2\0\0\0\0\0\0\0"
    assert readable(pair.frontend.fileno(0), 0)
    pair.frontend.acknowledge(0)
    pair.frontend.acknowledge(0)
    pair.backend.acknowledge(0)
    assert pair.rung() == ([], [])


RINGS = [(0, [4], [1]), (1, [5], [2]), (2, [], [3]), (3, [], []), (-1, [], []), (65535, [], []), (1 << 40, [], [])]


@pytest.mark.parametrize(("vector", "at_backend", "at_frontend"), RINGS)
def test_rings_stay_inside_the_link(pair: Pair, vector: int, at_backend: list[int], at_frontend: list[int]) -> None:
    assert (pair.backend.vectors, pair.frontend.vectors) == (2, 3)
    pair.backend.ring(vector)
    pair.frontend.ring(vector)
    assert pair.rung() == (at_backend, at_frontend)


def test_every_own_vector_has_its_descriptor(pair: Pair) -> None:
    assert [pair.frontend.fileno(vector) for vector in range(3)] == pair.frontend_fds[1:4]
    assert [pair.backend.fileno(vector) for vector in range(2)] == pair.backend_fds[4:6]
    assert pair.backend.fileno(2) == pair.backend.fileno(-1) == pair.backend_fds[4]


@pytest.mark.parametrize(("have", "expected"), [(1, [0]), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (5, [1, 2, 3])])
def test_short_of_vectors(have: int, expected: list[int]) -> None:
    pair = Pair(frontend_vectors=have)
    try:
        assert pair.frontend.vectors == len(expected)
        assert [pair.frontend.fileno(vector) for vector in range(pair.frontend.vectors)] == [
            pair.frontend_fds[number] for number in expected
        ]
    finally:
        pair.close()


def test_window_is_the_rw_section_and_nothing_else(pair: Pair) -> None:
    assert pair.backend.window.length == LAYOUT.rw_size
    pair.backend.window.store64(0, 0x1122334455667788)
    pair.frontend.window.store8(LAYOUT.rw_size - 1, 0x77)
    assert pair.region.read(LAYOUT.window_offset, 8) == bytes.fromhex("8877665544332211")
    assert pair.region.read(LAYOUT.end - 1, 2) == b"\x77\0"
    assert pair.frontend.window.load64(0) == 0x1122334455667788


def test_claims(pair: Pair) -> None:
    assert [peer for peer in range(-1, 20) if pair.backend.other_peer_is(peer)] == [9]
    assert [peer for peer in range(-1, 20) if pair.frontend.other_peer_is(peer)] == [0]


def test_peer_comes_and_goes(pair: Pair) -> None:
    pair.to_frontend.replace([])
    pair.backend.set_state(1)
    assert pair.rung() == ([], [])
    pair.to_frontend.replace(pair.frontend_fds[:2])
    pair.backend.ring(0)
    pair.backend.ring(1)
    assert pair.rung() == ([], [1])


def test_full_counter_blocks_nobody(pair: Pair) -> None:
    os.eventfd_write(pair.frontend_fds[1], 0xFFFFFFFFFFFFFFFE)
    pair.backend.ring(0)
    assert pair.rung() == ([], [1])


def test_large_state_table_and_output_sections() -> None:
    pair = Pair(replace(LAYOUT, state_table_size=3 * PAGE_SIZE, output_size=PAGE_SIZE))
    try:
        pair.backend.window.store8(0, 5)
        assert pair.region.read(7 * PAGE_SIZE, 1) == b"\5"
    finally:
        pair.close()


def test_region_too_small_for_its_layout() -> None:
    before = len(Path("/proc/self/maps").read_text().splitlines())
    with Region.create_anonymous(4 * PAGE_SIZE) as region:
        for layout in (LAYOUT, replace(LAYOUT, offset=2 * PAGE_SIZE)):
            with pytest.raises(OutsideRegion):
                V1Link.map(region.memory, layout, BACKEND, [0], Doorbells(), lambda _: True)
    with Region.create_anonymous(16 * PAGE_SIZE) as region, pytest.raises(NoOwnVectors, match="'a'"):
        V1Link.map(region.memory, LAYOUT, BACKEND, [], Doorbells(), lambda _: True)
    assert len(Path("/proc/self/maps").read_text().splitlines()) <= before + 1


def test_over_a_real_server(served: ServedRegion) -> None:
    own = served.local(0, 8)
    path = served.guest("web", 9, 8)
    served.links = [(LAYOUT, 9)]
    frontend_doorbells = served.call(lambda: Doorbells(served.server.doorbells(9)))
    memory = served.region.memory
    backend = V1Link.map(memory, LAYOUT, BACKEND, own, frontend_doorbells, lambda peer: peer == 9)
    for _ in range(2):
        with IvshmemClient.attach(path, vectors=8) as client:
            frontend = V1Link.map(
                client.memory, LAYOUT, FRONTEND, client.own_vectors, client.ringer(0), client.is_other_peer
            )
            frontend.set_state(1)
            assert readable(backend.fileno(0))
            backend.acknowledge(0)
            assert backend.other_state() == 1
            backend.ring(2)
            assert readable(frontend.fileno(2))
            frontend.acknowledge(2)
            frontend.close()
        assert readable(backend.fileno(0))
        backend.acknowledge(0)
        assert backend.other_state() == 0, "the server wrote it for the dead"
    backend.close()
