# SPDX-License-Identifier: MIT
"""The virtio devices of a guest, as its sysfs shows them."""

from __future__ import annotations

from ivshmem_virtio.vm.guest import Guest

# ACKNOWLEDGE, DRIVER, DRIVER_OK and FEATURES_OK (virtio 1.4, 2.1).
_WORKING = "0x0000000f"


def wait_for_devices(guest: Guest, count: int, seconds: int = 60) -> None:
    """Wait until ``count`` devices work (their drivers have set DRIVER_OK). Raises CommandFailed after ``seconds``."""
    working = f"$(grep -l {_WORKING} /sys/bus/virtio/devices/*/status 2>/dev/null | wc -l)"
    guest.run(
        f"i=0; until [ {working} = {count} ]; do i=$((i+1)); [ $i -gt {seconds * 10} ] &&"
        f" {{ echo {working} of {count} virtio devices work; exit 1; }}; usleep 100000; done",
        timeout=seconds * 3,
    )


def drivers(guest: Guest) -> list[str]:
    """Names of the drivers of all devices, sorted; a device without one is left out."""
    listing = "for d in /sys/bus/virtio/devices/*; do readlink $d/driver; done; true"
    return sorted(line.rsplit("/", 1)[1] for line in guest.run(listing).splitlines())
