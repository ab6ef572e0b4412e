# SPDX-License-Identifier: MIT
"""A guest that storms doorbells takes no more from another than one that burns its own processor."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.transport.driver.rng import RngDriver
from tests.figures import Figures

from .hostile_site import Joined, Site, hostile_site, joined

SECONDS = 0.5
ROUNDS = 5
MOST_ROUNDS = 20
"""As many more as it takes to tell a neighbour of this machine from a storm."""
TRIES = 5
LEAST_SHARE = 0.5
SLOW_RATE = 2000
MOST_PROCESSOR = 0.12
"""Of one processor. Without a limit a storm keeps one busy."""


@contextmanager
def busy(descriptors: Sequence[int]) -> Iterator[None]:
    """The other process at work: a storm on these doorbells, or without any an equal burner."""
    command = [sys.executable, "-m", "tests.hostile.storm", *map(str, descriptors)]
    with subprocess.Popen(command, pass_fds=descriptors, cwd=Path(__file__).parents[2]) as process:
        try:
            time.sleep(0.3)  # it has to start; how long exactly is nobody's concern
            yield
        finally:
            process.kill()


def throughput(device: RngDriver) -> float:
    """Requests a second, one at a time."""
    until, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        device.read(256)
        count += 1
    return count / SECONDS


def doorbells_of(guest: Joined, link: str) -> list[int]:
    """The eventfds that ring the back-end for a link."""
    layout = guest.layout(link)
    return guest.client.doorbells(layout.backend_peer)[
        layout.backend_vector : layout.backend_vector + layout.backend_vectors
    ]


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With the doorbells that guests have when nobody says otherwise."""
    with hostile_site(tmp_path_factory.mktemp("capped")) as made:
        yield made


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With fewer doorbells than that."""
    with hostile_site(tmp_path_factory.mktemp("slow"), f"doorbell_rate = {SLOW_RATE}") as made:
        yield made


def compare(device: RngDriver, storm: Sequence[int]) -> tuple[float, float]:
    """Median throughput beside the storm and beside the burner, measured in turn."""
    beside: dict[bool, list[float]] = {True: [], False: []}
    for done in range(1, MOST_ROUNDS + 1):
        for stormy in (True, False):
            with busy(storm if stormy else ()):
                beside[stormy].append(throughput(device))
        if done >= ROUNDS and statistics.median(beside[True]) >= LEAST_SHARE * statistics.median(beside[False]):
            break
    return statistics.median(beside[True]), statistics.median(beside[False])


@pytest.mark.parametrize("victim", ["calm", "evil"])
def test_a_doorbell_storm_is_no_worse_than_a_busy_processor(capped: Site, victim: str, figures: Figures) -> None:
    """``victim``: the other guest, or another link of the same one, which has the same back-end."""
    with joined(capped, "evil") as evil, joined(capped, "calm") as calm, ExitStack() as stack:
        # A device that is at work looks at its queues at each doorbell.
        RngDriver(stack.enter_context(evil.driving("rng")))
        guest = calm if victim == "calm" else evil
        device = RngDriver(stack.enter_context(guest.driving("good")))
        stormy, burning = compare(device, doorbells_of(evil, "rng"))
    who = "another guest" if victim == "calm" else "another link"
    figures(f"doorbell storm, {who}", beside_storm=stormy, beside_burner=burning, share=round(stormy / burning, 2))
    assert stormy >= LEAST_SHARE * burning


def processor_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_doorbell_storm_leaves_the_service_idle_most_of_the_time(slow: Site, figures: Figures) -> None:
    """Doorbells beyond the rate cost nothing: nobody listens."""
    with joined(slow, "evil") as evil, evil.driving("rng") as transport:
        RngDriver(transport)
        pids = slow.service.children()
        with busy(doorbells_of(evil, "rng")):
            for _ in range(TRIES):
                before, began = processor_seconds(pids), time.monotonic()
                time.sleep(3 * SECONDS)
                share = (processor_seconds(pids) - before) / (time.monotonic() - began)
                if share < MOST_PROCESSOR:
                    break
    figures(f"doorbell storm, {SLOW_RATE} a second allowed", service_processors=round(share, 2))
    assert share < MOST_PROCESSOR
