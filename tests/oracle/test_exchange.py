# SPDX-License-Identifier: MIT
"""Many chains each way against the kernel's ring code, two threads, every byte checked, real doorbells.

Both sides sleep on eventfds when there is nothing to do, so a notification that is wrongly suppressed ends the run. The
kernel has no packed device side: our packed driver side meets our device side, which has met the kernel's driver.
"""

import pytest

from ivshmem_virtio.core import Window

from .exchange_types import Exchange
from .pair import DEVICE_SEED, DRIVER_SEED, both
from .places import REQUESTS
from .ring import Ring, every_ring

SPLIT, PACKED = every_ring(packed=False), every_ring(packed=True)


def many(ring: Ring) -> int:
    """Chains. 8 combinations of split rings make a million; each wraps the 16-bit indices at least once."""
    return 50_000 if ring.packed else 125_000


@pytest.mark.parametrize("ring", SPLIT + PACKED, ids=str)
def test_linux_driver_with_our_device(exchange: Exchange, window: Window, bells: tuple[int, int], ring: Ring) -> None:
    linux = ring.linux_driver(exchange, window)
    device = ring.our_device(window, linux)
    sent, read = both(
        lambda: linux.run(REQUESTS, many(ring), 64, DRIVER_SEED, *bells),
        lambda: exchange.serve(device, many(ring), 32, DEVICE_SEED, *bells),
    )
    assert sent == read
    assert device.chains == many(ring)
    assert device.in_flight == 0


@pytest.mark.parametrize("ring", SPLIT, ids=str)
def test_our_driver_with_linux_device(exchange: Exchange, window: Window, bells: tuple[int, int], ring: Ring) -> None:
    driver = ring.our_driver(window)
    linux = ring.linux_device(exchange, window)
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, many(ring), 64, DRIVER_SEED, *bells),
        lambda: linux.run(many(ring), 32, DEVICE_SEED, *bells),
    )
    assert sent == read
    assert driver.chains == many(ring)
    assert driver.free == ring.size


@pytest.mark.parametrize("ring", PACKED, ids=str)
def test_our_driver_with_our_device(exchange: Exchange, window: Window, bells: tuple[int, int], ring: Ring) -> None:
    driver = ring.our_driver(window)
    device = ring.our_device(window)
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, many(ring), 64, DRIVER_SEED, *bells),
        lambda: exchange.serve(device, many(ring), 32, DEVICE_SEED, *bells),
    )
    assert sent == read
    assert driver.chains == many(ring)
    assert driver.free == ring.size
