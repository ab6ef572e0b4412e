# SPDX-License-Identifier: MIT
"""``instruction_run.py split|packed ROUNDS``: full batches of null requests, for a counter of instructions."""

from __future__ import annotations

import os
import struct
import sys

from ivshmem_virtio.core import Bell, BlkEngine, DeviceQueue, DriverQueue, Window

SIZE = 128
BATCH = 32
HEADER, STATUS, DATA = 0x10000, 0x10040, 0x11000


def main(packed: bool, rounds: int) -> None:
    """Serve ``rounds`` batches of 32 requests of three descriptors each."""
    memory = os.memfd_create("instructions", os.MFD_CLOEXEC)
    os.truncate(memory, 1 << 20)
    window = Window(memory, 0, 1 << 20)
    window.write(HEADER, struct.pack("<IIQ", 0, 0, 0))
    driver = DriverQueue(window, SIZE, 0, 0x4000, 0x8000, event_idx=True, indirect=False, packed=packed)
    device = DeviceQueue(window, SIZE, 0, 0x4000, 0x8000, event_idx=True, indirect=False, packed=packed)
    engine = BlkEngine(device, Bell(), lambda chain, error: 0, fd=-1, capacity=1 << 20, read_only=False)
    for _ in range(rounds):
        for _ in range(BATCH):
            driver.add([(HEADER, 16)], [(DATA, 4096), (STATUS, 1)], None)
        driver.publish()
        served = 0
        while served < BATCH:
            served += engine.serve()
        while driver.get() is not None:
            pass
    assert device.chains == rounds * BATCH


if __name__ == "__main__":
    main(sys.argv[1] == "packed", int(sys.argv[2]))
