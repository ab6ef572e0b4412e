# SPDX-License-Identifier: MIT
"""Requests on the polled path, in a process whose worker dies at any system call and never gets the GIL.

The worker's own thread confines itself, from the one place where it runs Python: a request that the engine leaves to
it. What stays allowed is what it takes to come back from there (the GIL, freed memory), and a clock that is no system
call on most machines.
"""

from __future__ import annotations

import os
import sys
import time

import pyseccomp

from ivshmem_virtio.core import Chain, PlaneWorker

from .plane_rig import GET_ID, READ, NullDisk, until

ALLOWED = ("futex", "brk", "madvise", "munmap", "clock_gettime")
BATCH = 16
PATIENCE = 60.0


class ConfiningDisk(NullDisk):
    """Answers the one request that is not for the engine by giving up all system calls."""

    forbidden = True

    def serve(self, chain: Chain, error: int) -> int:
        rules = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS if self.forbidden else pyseccomp.ALLOW)
        for name in ALLOWED if self.forbidden else ():
            rules.add_rule(pyseccomp.ALLOW, name)
        rules.load()
        return super().serve(chain, error)


def main() -> None:
    """``CHAINS KIND``: serve so many reads (``read``), or requests for Python (``python``), which must be noticed."""
    chains, kind = int(sys.argv[1]), READ if sys.argv[2] == "read" else GET_ID
    disk = ConfiningDisk()
    worker = PlaneWorker("budget", longest_spin=-1)
    worker.start()
    worker.attach(disk.engine)
    disk.driver.disable_callbacks()
    disk.round_trip()
    disk.add(GET_ID)
    disk.driver.publish()
    until(disk.collect, "the worker did not confine itself")
    # From here on this thread keeps the GIL: nothing below waits, and nobody may ask for it.
    sys.setswitchinterval(1000)
    chains_before, rung_before = disk.device.chains, disk.bell.rung
    deadline = time.monotonic() + PATIENCE
    left = chains
    while left:
        disk.add(kind, count=BATCH)
        disk.driver.publish()
        back = 0
        while back < BATCH:
            back += disk.collect()
            if time.monotonic() > deadline:
                print("the worker waits for Python")
                os._exit(3)
        left -= BATCH
    print(f"{disk.device.chains - chains_before} chains, {disk.bell.rung - rung_before} interrupts")
    sys.stdout.flush()
    # Its thread cannot even end any more.
    os._exit(0)


if __name__ == "__main__":
    main()
