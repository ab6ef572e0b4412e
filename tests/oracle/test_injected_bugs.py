# SPDX-License-Identifier: MIT
"""Bugs put into one side on purpose: the kernel's code must notice each, or the exchanges prove nothing."""

import errno
from dataclasses import replace

import pytest

from ivshmem_virtio import errors
from ivshmem_virtio.core import Chain, DeviceQueue, Window

from .exchange_types import Exchange, LinuxDriver
from .places import DESC, REQUESTS, TABLES
from .ring import Ring

NEXT, WRITE, INDIRECT = 1, 2, 4
FLAGS = 14
AVAILABLE, USED = 1 << 7, 1 << 15

split = pytest.mark.parametrize("ring", [Ring()], ids=str)
packed = pytest.mark.parametrize("ring", [Ring(packed=True)], ids=str)
either = pytest.mark.parametrize("ring", [Ring(), Ring(packed=True)], ids=str)


@pytest.fixture
def linux(exchange: Exchange, window: Window, ring: Ring) -> LinuxDriver:
    return ring.linux_driver(exchange, window)


@pytest.fixture
def device(linux: LinuxDriver, window: Window, ring: Ring) -> DeviceQueue:
    return ring.our_device(window, linux)


@pytest.fixture
def taken(linux: LinuxDriver, device: DeviceQueue) -> list[Chain]:
    """Three chains of the kernel's driver, in our device's hands; tokens 1, 2, 3 and heads, or buffer ids, 0, 1, 2."""
    for token in (1, 2, 3):
        linux.add(REQUESTS + 64 * token, 64, token)
    linux.kick()
    chains = [device.pop() for _ in range(3)]
    return [chain for chain in chains if chain is not None]


@either
def test_a_sound_device_is_accepted(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain]) -> None:
    for chain in reversed(taken):
        device.push(chain, chain.write(0, b"0123456789"))
    device.publish()
    assert [linux.get() for _ in range(4)] == [(3, 10), (2, 10), (1, 10), None]
    assert not linux.broken


@either
def test_used_id_of_no_chain(
    linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window, ring: Ring
) -> None:
    device.push(taken[0], 0)
    if ring.packed:
        window.store16(linux.desc + 12, 5)
    else:
        window.store32(linux.used + 4, 5)
    device.publish()
    assert linux.get() is None
    assert linux.broken
    assert "id 5 is not a head" in linux.complaint


@split
def test_used_id_outside_the_ring(
    linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window, ring: Ring
) -> None:
    device.push(taken[0], 0)
    window.store32(linux.used + 4, ring.size)
    device.publish()
    assert linux.get() is None
    assert "id 8 out of range" in linux.complaint


@split
def test_used_index_jumps(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window) -> None:
    device.push(taken[0], 0)
    device.publish()
    window.store16(linux.used + 2, 2)
    assert linux.get() == (1, 0)
    assert linux.get() is None
    assert "is not a head" in linux.complaint


@split
def test_used_element_after_its_index(
    linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window
) -> None:
    device.push(taken[0], 0)
    device.publish()
    assert linux.get() == (1, 0)
    window.store16(linux.used + 2, 2)
    assert linux.get() is None
    device.push(taken[1], 0)
    assert linux.broken
    assert "is not a head" in linux.complaint


@split
def test_wrong_used_length_reaches_the_check(
    linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window
) -> None:
    # The kernel's ring leaves the length to its driver; the exchanges compare it with what was asked for.
    device.push(taken[0], 10)
    window.store32(linux.used + 8, 11)
    device.publish()
    assert linux.get() == (1, 11)


@packed
def test_flags_that_come_too_early(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window) -> None:
    """What a batch that is shown before it is complete looks like."""
    device.push(taken[1], 0)
    window.store16(linux.desc + FLAGS, AVAILABLE | USED)
    assert linux.get() == (2, 0)
    window.store16(linux.desc + 16 + FLAGS, AVAILABLE | USED)
    assert linux.get() is None
    assert linux.broken


def descriptor(window: Window, table: int, index: int, address: int, length: int, flags: int, following: int) -> None:
    window.store64(table + 16 * index, address)
    window.store64(table + 16 * index + 8, length | flags << 32 | following << 48)


# What a driver may get wrong: descriptors (index, address, length, flags, next) over a sound chain at head 0, the
# kernel's verdict, and ours.
broken_chains = [
    pytest.param([(0, REQUESTS, 4, NEXT, 9)], errno.EINVAL, errors.NextOutsideTable, id="next-outside"),
    pytest.param([(0, REQUESTS, 4, NEXT, 0)], errno.ELOOP, errors.ChainTooLong, id="loop"),
    pytest.param(
        [(0, REQUESTS, 4, NEXT | WRITE, 1), (1, REQUESTS, 4, 0, 0)],
        errno.EINVAL,
        errors.ReadableAfterWritable,
        id="readable-after-writable",
    ),
    pytest.param([(0, 1 << 20, 4, 0, 0)], errno.EINVAL, errors.BufferOutsideWindow, id="outside-window"),
    pytest.param([(0, TABLES, 24, INDIRECT, 0)], errno.EINVAL, errors.IndirectTableLength, id="table-length"),
    pytest.param([(0, 1 << 20, 32, INDIRECT, 0)], errno.EINVAL, errors.IndirectTableOutsideWindow, id="table-outside"),
]


@pytest.mark.parametrize(("descriptors", "verdict", "violation"), broken_chains)
def test_both_device_sides_refuse(
    exchange: Exchange,
    window: Window,
    descriptors: list[tuple[int, int, int, int, int]],
    verdict: int,
    violation: type[errors.RingViolation],
) -> None:
    ring = Ring(indirect=True)
    driver = ring.our_driver(window)
    driver.add([(REQUESTS, 4)], [(REQUESTS + 64, 4)], "sound")
    driver.publish()
    for entry in descriptors:
        descriptor(window, DESC, *entry)
    linux = ring.linux_device(exchange, window)
    assert linux.serve_one() == -verdict
    device = ring.our_device(window)
    with pytest.raises(violation):
        device.pop()


def test_a_nested_table_is_refused_by_both(exchange: Exchange, window: Window) -> None:
    ring = Ring(indirect=True)
    driver = ring.our_driver(window)
    driver.add([(REQUESTS, 4)], [(REQUESTS + 64, 4)], "sound", table=TABLES)
    driver.publish()
    descriptor(window, TABLES, 1, TABLES + 64, 16, INDIRECT, 0)
    linux = ring.linux_device(exchange, window)
    assert linux.serve_one() == -errno.EINVAL
    device = ring.our_device(window)
    with pytest.raises(errors.IndirectNested):
        device.pop()


@either
def test_an_unnegotiated_table_is_refused(exchange: Exchange, window: Window, ring: Ring) -> None:
    # Two segments, because the kernel's driver takes a table only for more than one.
    linux = replace(ring, indirect=True).linux_driver(exchange, window)
    device = ring.our_device(window, linux)
    linux.add(REQUESTS, 64, 1, segments=2)
    linux.kick()
    with pytest.raises(errors.IndirectNotNegotiated):
        device.pop()
