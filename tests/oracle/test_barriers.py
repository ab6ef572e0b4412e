# SPDX-License-Identifier: MIT
"""One chain at a time between two threads that spin: going to sleep and being woken happen within nanoseconds.

A barrier that is missing, on either side, loses a notification here sooner or later, and the exchange stops. The long
exchanges with real doorbells do not come close enough to show it.
"""

import pytest

from ivshmem_virtio.core import Window

from .exchange_types import Exchange
from .pair import DEVICE_SEED, DRIVER_SEED, both
from .places import REQUESTS
from .ring import Ring

SPLIT = [Ring(event_idx=False), Ring(event_idx=True)]
PACKED = [Ring(packed=True, event_idx=False), Ring(packed=True, event_idx=True)]


def chains(ring: Ring) -> int:
    return 60_000 if ring.packed else 400_000


@pytest.mark.parametrize("ring", SPLIT + PACKED, ids=str)
def test_our_driver_with_our_device(exchange: Exchange, window: Window, ring: Ring) -> None:
    driver = ring.our_driver(window)
    device = ring.our_device(window)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, chains(ring), 1, DRIVER_SEED, *bells),
        lambda: exchange.serve(device, chains(ring), 1, DEVICE_SEED, *bells),
    )
    assert sent == read


@pytest.mark.parametrize("ring", SPLIT + PACKED, ids=str)
def test_linux_driver_with_our_device(exchange: Exchange, window: Window, ring: Ring) -> None:
    linux = ring.linux_driver(exchange, window)
    device = ring.our_device(window, linux)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: linux.run(REQUESTS, chains(ring), 1, DRIVER_SEED, *bells),
        lambda: exchange.serve(device, chains(ring), 1, DEVICE_SEED, *bells),
    )
    assert sent == read


@pytest.mark.parametrize("ring", SPLIT, ids=str)
def test_our_driver_with_linux_device(exchange: Exchange, window: Window, ring: Ring) -> None:
    driver = ring.our_driver(window)
    linux = ring.linux_device(exchange, window)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, chains(ring), 1, DRIVER_SEED, *bells),
        lambda: linux.run(chains(ring), 1, DEVICE_SEED, *bells),
    )
    assert sent == read
