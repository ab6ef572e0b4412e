# SPDX-License-Identifier: MIT
"""Who is there, and where: State Table, extension and directory, written by whom they do not belong to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.scenario import Attempt, Scenario
from ivshmem_virtio.evil.driver.target import Target
from ivshmem_virtio.link.layout import BACKEND, DIRECTORY_SIZE, FRONTEND, FrontendLine, Header, State
from ivshmem_virtio.link.state_table import entry_offset

STORM = 64


def settled(attempt: Attempt) -> Outcome:
    """Whether a driver that behaves is let in and served."""
    attempt.target.recover(anew=True)
    return Outcome.COMPLETED


def line(target: Target) -> int:
    """Window offset of the front-end's line of the extension, behind the registers where there is none."""
    extension = target.backend.extension
    return extension.frontend_line if extension is not None else target.backend.size


def incarnation_storm(attempt: Attempt) -> Outcome:
    """A new incarnation with every doorbell: each is a reset."""
    target = attempt.target
    for _ in range(STORM):
        target.window.store64(line(target) + FrontendLine.INCARNATION, attempt.dice.getrandbits(64))
        target.link.ring(target.backend.config_vector)
    return settled(attempt)


def claimed_peer(attempt: Attempt) -> Outcome:
    """Another incarnation that says it is another peer: doorbells would go there."""
    target = attempt.target
    claim = attempt.dice.choice((1, 3, 0x10000, 0xFFFFFFFF))
    target.window.store32(line(target) + FrontendLine.PEER_PLUS_ONE, claim)
    target.window.store64(line(target) + FrontendLine.INCARNATION, attempt.dice.getrandbits(64) | 1)
    target.link.ring(target.backend.config_vector)
    return settled(attempt)


def extension_overwritten(attempt: Attempt) -> Outcome:
    extension = attempt.target.backend.extension
    if extension is not None:
        attempt.target.window.write(extension.offset, attempt.dice.randbytes(extension.length))
    attempt.target.link.ring(attempt.target.backend.config_vector)
    return settled(attempt)


def header_overwritten(attempt: Attempt) -> Outcome:
    """All the registers, transaction word included."""
    target = attempt.target
    target.window.write(Header.REVISION, attempt.dice.randbytes(target.backend.registers_end))
    target.link.ring(target.backend.config_vector)
    return settled(attempt)


def state_nonsense(attempt: Attempt) -> Outcome:
    target = attempt.target
    for value in (2, 3, 0x80000000, 0xFFFFFFFF, attempt.dice.getrandbits(32)):
        target.link.set_state(value)
    return settled(attempt)


def state_flapping(attempt: Attempt) -> Outcome:
    """Here, gone, here, gone: each time a reset."""
    for number in range(STORM):
        attempt.target.link.set_state(State.READY if number % 2 else State.ABSENT)
    return settled(attempt)


def state_table_overwritten(attempt: Attempt) -> Outcome:
    """Both entries, the back-end's included, and everything behind them."""
    target = attempt.target
    target.region.write(target.layout.offset, attempt.dice.randbytes(target.layout.state_table_size))
    target.link.ring(target.backend.config_vector)
    return settled(attempt)


def backend_declared_absent(attempt: Attempt) -> Outcome:
    """The driver writes the back-end's own entry."""
    target = attempt.target
    for entry, value in ((BACKEND, State.ABSENT), (FRONTEND, State.ABSENT)):
        target.region.store32(target.layout.offset + entry_offset(entry), value)
    target.link.ring(target.backend.config_vector)
    return settled(attempt)


@contextlib.contextmanager
def put_back(target: Target) -> Iterator[None]:
    """The directory as it was, afterwards: its keeper writes it once, and nobody comes to a link without it."""
    directory = target.region.read(0, DIRECTORY_SIZE)
    try:
        yield
    finally:
        target.region.write(0, directory)


def directory_zeroed(attempt: Attempt) -> Outcome:
    with put_back(attempt.target):
        attempt.target.region.zero(0, DIRECTORY_SIZE)
        return settled(attempt)


def directory_overwritten(attempt: Attempt) -> Outcome:
    with put_back(attempt.target):
        attempt.target.region.write(0, attempt.dice.randbytes(DIRECTORY_SIZE))
        return settled(attempt)


SCENARIOS = (
    Scenario("incarnation-storm", "a new incarnation with every doorbell", incarnation_storm),
    Scenario("peer-claimed", "a driver that says it is another peer", claimed_peer),
    Scenario("extension-overwritten", "random bytes over the extension", extension_overwritten),
    Scenario("header-overwritten", "random bytes over all registers", header_overwritten),
    Scenario("state-nonsense", "states that do not exist", state_nonsense),
    Scenario("state-flapping", "a driver that comes and goes", state_flapping),
    Scenario("state-table-overwritten", "random bytes over the State Table", state_table_overwritten),
    Scenario("state-absent", "the driver declares the back-end absent", backend_declared_absent),
    Scenario("directory-zeroed", "the directory zeroed while the device works", directory_zeroed),
    Scenario("directory-overwritten", "random bytes over the directory while the device works", directory_overwritten),
)
