# SPDX-License-Identifier: MIT
"""What a request may cost on any machine: no system call and no Python while polled, few doorbells while not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ivshmem_virtio.bench.generator import BlkLoad

from .plane_rig import CAPACITY, disk_on_worker

CHAINS = 16_000
DEPTH = 32
MOST = 0.05
"""Doorbells, or interrupts, for each request."""
TRIES = 10
"""Where the two have to share a processor, their batches are cut short."""


def confined(chains: int, kind: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.plane_budget", str(chains), kind]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=seconds)


def test_polled_requests_take_neither_system_calls_nor_python() -> None:
    done = confined(CHAINS, "read")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == f"{CHAINS} chains, 0 interrupts\n"


def test_that_would_be_noticed() -> None:
    """A worker that needs Python either dies of a system call or waits in vain."""
    command = [sys.executable, "-m", "tests.unit.plane_budget", "16", "python"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.wait(3) != 0
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.parametrize("polled", [True, False], ids=["polled", "blocking"])
def test_doorbells_and_interrupts(polled: bool) -> None:
    with disk_on_worker() as (disk, _):
        load = BlkLoad(
            disk.driver, disk.doorbell, disk.interrupt, base=1 << 16, room=1 << 19, depth=DEPTH, size=512, span=CAPACITY
        )
        for _ in range(TRIES):
            outcome = load.run(0.5, polled=polled)
            assert outcome.errors == 0
            if max(outcome.kicks, outcome.interrupts) <= MOST * outcome.requests:
                break
    assert outcome.kicks <= MOST * outcome.requests
    assert outcome.interrupts <= MOST * outcome.requests
