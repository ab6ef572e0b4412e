# SPDX-License-Identifier: MIT
"""One chain at a time between two threads that spin: going to sleep and being woken happen within nanoseconds.

A barrier that is missing, on either side, loses a notification here sooner or later, and the exchange stops. The long
exchanges with real doorbells do not come close enough to show it.
"""

import pytest

from ivshmem_virtio.core import DeviceQueue, DriverQueue, Window

from .exchange_types import Exchange
from .pair import both
from .places import AVAIL, DESC, REQUESTS, RINGS, TABLES, TABLES_END, USED

SIZE = 8
CHAINS = 400_000
SEEDS = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03

each_suppression = pytest.mark.parametrize("event_idx", [False, True], ids=["flags", "event"])


@each_suppression
def test_our_driver_with_our_device(exchange: Exchange, window: Window, event_idx: bool) -> None:
    driver = DriverQueue(window, SIZE, DESC, AVAIL, USED, event_idx=event_idx, indirect=False)
    device = DeviceQueue(window, SIZE, DESC, AVAIL, USED, event_idx=event_idx, indirect=False)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, CHAINS, 1, SEEDS[0], *bells),
        lambda: exchange.serve(device, CHAINS, 1, SEEDS[1], *bells),
    )
    assert sent == read


@each_suppression
def test_linux_driver_with_our_device(exchange: Exchange, window: Window, event_idx: bool) -> None:
    linux = exchange.LinuxDriver(
        window, SIZE, indirect=False, event_idx=event_idx, rings=RINGS, tables=TABLES, end=TABLES_END
    )
    device = DeviceQueue(window, SIZE, linux.desc, linux.avail, linux.used, event_idx=event_idx, indirect=False)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: linux.run(REQUESTS, CHAINS, 1, SEEDS[0], *bells),
        lambda: exchange.serve(device, CHAINS, 1, SEEDS[1], *bells),
    )
    assert sent == read


@each_suppression
def test_our_driver_with_linux_device(exchange: Exchange, window: Window, event_idx: bool) -> None:
    driver = DriverQueue(window, SIZE, DESC, AVAIL, USED, event_idx=event_idx, indirect=False)
    linux = exchange.LinuxDevice(window, SIZE, DESC, AVAIL, USED, event_idx=event_idx)
    bells = exchange.spin_bells()
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, CHAINS, 1, SEEDS[0], *bells),
        lambda: linux.run(CHAINS, 1, SEEDS[1], *bells),
    )
    assert sent == read
