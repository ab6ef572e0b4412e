# SPDX-License-Identifier: MIT
"""Two sides of an exchange at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

DRIVER_SEED, DEVICE_SEED = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def both(driver: Callable[[], int], device: Callable[[], int]) -> tuple[int, int]:
    """Digest of what the driver sent, and of what the device read."""
    with ThreadPoolExecutor(2) as threads:
        driving, serving = threads.submit(driver), threads.submit(device)
        return driving.result(), serving.result()
