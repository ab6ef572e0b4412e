# SPDX-License-Identifier: MIT
"""A million chains each way against the kernel's ring code, two threads, every byte checked, real doorbells.

Both sides sleep on eventfds when there is nothing to do, so a notification that is wrongly suppressed ends the run.
"""

import pytest

from ivshmem_virtio.core import DeviceQueue, DriverQueue, Window

from .exchange_types import Exchange
from .pair import both
from .places import AVAIL, DESC, REQUESTS, RINGS, TABLES, TABLES_END, USED

# 8 combinations make a million; each wraps the 16-bit indices at least once.
CHAINS = 125_000

combinations = [
    pytest.param(
        size, indirect, event_idx, id=f"{size}-{'in' if indirect else ''}direct-{'event' if event_idx else 'flags'}"
    )
    for size in (8, 256)
    for indirect in (False, True)
    for event_idx in (False, True)
]


@pytest.mark.parametrize(("size", "indirect", "event_idx"), combinations)
def test_linux_driver_with_our_device(
    exchange: Exchange, window: Window, bells: tuple[int, int], size: int, indirect: bool, event_idx: bool
) -> None:
    linux = exchange.LinuxDriver(
        window, size, indirect=indirect, event_idx=event_idx, rings=RINGS, tables=TABLES, end=TABLES_END
    )
    device = DeviceQueue(
        window, size, linux.desc, linux.avail, linux.used, event_idx=event_idx, indirect=indirect, minimum=RINGS
    )
    sent, read = both(
        lambda: linux.run(REQUESTS, CHAINS, 64, 0x9E3779B97F4A7C15, *bells),
        lambda: exchange.serve(device, CHAINS, 32, 0xD1B54A32D192ED03, *bells),
    )
    assert sent == read
    assert device.chains == CHAINS
    assert device.in_flight == 0


@pytest.mark.parametrize(("size", "indirect", "event_idx"), combinations)
def test_our_driver_with_linux_device(
    exchange: Exchange, window: Window, bells: tuple[int, int], size: int, indirect: bool, event_idx: bool
) -> None:
    driver = DriverQueue(window, size, DESC, AVAIL, USED, event_idx=event_idx, indirect=indirect)
    linux = exchange.LinuxDevice(window, size, DESC, AVAIL, USED, event_idx=event_idx)
    sent, read = both(
        lambda: exchange.drive(driver, REQUESTS, CHAINS, 64, 0x9E3779B97F4A7C15, *bells),
        lambda: linux.run(CHAINS, 32, 0xD1B54A32D192ED03, *bells),
    )
    assert sent == read
    assert driver.chains == CHAINS
    assert driver.free == size
