# SPDX-License-Identifier: MIT
"""Packed rings: the kernel's driver side against our device side, every byte checked, and bugs that it must notice.

The kernel has no packed device side, so our driver side meets our device side, in threads that spin.
"""

import pytest

from ivshmem_virtio import errors
from ivshmem_virtio.core import Chain, DeviceQueue, DriverQueue, Window

from .exchange_types import Exchange, LinuxDriver
from .pair import both
from .places import AVAIL, DESC, REQUESTS, RINGS, TABLES, TABLES_END, USED

CHAINS = 50_000
SPINS = 60_000
SEEDS = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
SIZE = 8
FLAGS = 14
AVAILABLE, WAS_USED = 1 << 7, 1 << 15

combinations = [
    pytest.param(
        size, indirect, event_idx, id=f"{size}-{'in' if indirect else ''}direct-{'event' if event_idx else 'flags'}"
    )
    for size in (8, 256)
    for indirect in (False, True)
    for event_idx in (False, True)
]
each_suppression = pytest.mark.parametrize("event_idx", [False, True], ids=["flags", "event"])


def linux_driver(exchange: Exchange, window: Window, size: int, *, indirect: bool, event_idx: bool) -> LinuxDriver:
    return exchange.LinuxDriver(
        window, size, packed=True, indirect=indirect, event_idx=event_idx, rings=RINGS, tables=TABLES, end=TABLES_END
    )


def our_device(linux: LinuxDriver, window: Window, size: int, *, indirect: bool, event_idx: bool) -> DeviceQueue:
    return DeviceQueue(
        window, size, linux.desc, linux.avail, linux.used,
        packed=True, event_idx=event_idx, indirect=indirect, minimum=RINGS,
    )  # fmt: skip


@pytest.mark.parametrize(("size", "indirect", "event_idx"), combinations)
def test_linux_driver_with_our_device(
    exchange: Exchange, window: Window, bells: tuple[int, int], size: int, indirect: bool, event_idx: bool
) -> None:
    linux = linux_driver(exchange, window, size, indirect=indirect, event_idx=event_idx)
    device = our_device(linux, window, size, indirect=indirect, event_idx=event_idx)
    sent, read = both(
        lambda: linux.run(REQUESTS, CHAINS, 64, SEEDS[0], *bells),
        lambda: exchange.serve(device, CHAINS, 32, SEEDS[1], *bells),
    )
    assert sent == read
    assert device.chains == CHAINS
    assert device.in_flight == 0


@pytest.mark.parametrize(("size", "indirect", "event_idx"), combinations)
def test_our_driver_with_our_device(
    exchange: Exchange, window: Window, bells: tuple[int, int], size: int, indirect: bool, event_idx: bool
) -> None:
    places = size, DESC, AVAIL, USED
    driver = DriverQueue(window, *places, packed=True, event_idx=event_idx, indirect=indirect)
    device = DeviceQueue(window, *places, packed=True, event_idx=event_idx, indirect=indirect, minimum=RINGS)
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, CHAINS, 64, SEEDS[0], *bells),
        lambda: exchange.serve(device, CHAINS, 32, SEEDS[1], *bells),
    )
    assert sent == read
    assert driver.chains == CHAINS
    assert driver.free == size


@each_suppression
def test_no_barrier_is_missing_beside_linux(exchange: Exchange, window: Window, event_idx: bool) -> None:
    linux = linux_driver(exchange, window, SIZE, indirect=False, event_idx=event_idx)
    device = our_device(linux, window, SIZE, indirect=False, event_idx=event_idx)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: linux.run(REQUESTS, SPINS, 1, SEEDS[0], *bells),
        lambda: exchange.serve(device, SPINS, 1, SEEDS[1], *bells),
    )
    assert sent == read


@each_suppression
def test_no_barrier_is_missing_between_our_sides(exchange: Exchange, window: Window, event_idx: bool) -> None:
    driver = DriverQueue(window, SIZE, DESC, AVAIL, USED, packed=True, event_idx=event_idx, indirect=False)
    device = DeviceQueue(window, SIZE, DESC, AVAIL, USED, packed=True, event_idx=event_idx, indirect=False)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, SPINS, 1, SEEDS[0], *bells),
        lambda: exchange.serve(device, SPINS, 1, SEEDS[1], *bells),
    )
    assert sent == read


@pytest.fixture
def linux(exchange: Exchange, window: Window) -> LinuxDriver:
    return linux_driver(exchange, window, SIZE, indirect=True, event_idx=False)


@pytest.fixture
def device(linux: LinuxDriver, window: Window) -> DeviceQueue:
    return our_device(linux, window, SIZE, indirect=False, event_idx=False)


@pytest.fixture
def taken(linux: LinuxDriver, device: DeviceQueue) -> list[Chain]:
    """Three chains of the kernel's driver, in our device's hands; tokens 1, 2, 3 and buffer ids 0, 1, 2."""
    for token in (1, 2, 3):
        linux.add(REQUESTS + 64 * token, 64, token)
    linux.kick()
    chains = [device.pop() for _ in range(3)]
    return [chain for chain in chains if chain is not None]


def test_a_sound_device_is_accepted(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain]) -> None:
    for chain in reversed(taken):
        device.push(chain, chain.write(0, b"0123456789"))
    device.publish()
    assert [linux.get() for _ in range(4)] == [(3, 10), (2, 10), (1, 10), None]
    assert not linux.broken


def test_used_buffer_of_no_chain(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window) -> None:
    device.push(taken[0], 0)
    window.store16(linux.desc + 12, 5)
    device.publish()
    assert linux.get() is None
    assert linux.broken
    assert "id 5 is not a head" in linux.complaint


def test_flags_that_come_too_early(linux: LinuxDriver, device: DeviceQueue, taken: list[Chain], window: Window) -> None:
    """What a batch that is shown before it is complete looks like."""
    device.push(taken[1], 0)
    window.store16(linux.desc + FLAGS, AVAILABLE | WAS_USED)
    assert linux.get() == (2, 0)
    window.store16(linux.desc + 16 + FLAGS, AVAILABLE | WAS_USED)
    assert linux.get() is None
    assert linux.broken


def test_an_unnegotiated_table_is_refused(linux: LinuxDriver, device: DeviceQueue) -> None:
    # Two segments, because the kernel's driver takes a table only for more than one.
    linux.add(REQUESTS, 64, 1, segments=2)
    linux.kick()
    with pytest.raises(errors.IndirectNotNegotiated):
        device.pop()
