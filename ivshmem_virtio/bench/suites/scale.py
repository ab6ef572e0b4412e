# SPDX-License-Identifier: MIT
"""Suite ``scale``: what many devices and many guests cost, beside one device alone or beside what is allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from ivshmem_virtio.bench.loaded_disk import Work
from ivshmem_virtio.bench.own_disk import own_disks
from ivshmem_virtio.bench.own_service import driven, guest, guest_text, service, service_text
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.bench.service_cost import own_memory, processor_seconds
from ivshmem_virtio.vm.service import ServiceProcess

MANY = 64
WINDOW = "256K"
MOST_BYTES = 1_500_000
"""What a device may take beyond its window."""
MOST_IDLE = 0.5
"""Per cent of one processor that 64 idle devices may take."""
SETTLE_SECONDS = 2.0


def run(bench: Run) -> None:
    """Set-up, memory and idle time of 64 devices, then 16 guests at once."""
    one, many = _served(bench, 1), _served(bench, MANY)
    with one as alone, many as together:
        for count in (8, MANY):
            bench.compare(
                Case("scale", f"set-up of each of {count} devices", "us", "one device alone", "less"),
                partial(_set_up, together, count),
                partial(_set_up, alone, 1),
            )
        bench.compare(
            Case("scale", f"memory of each of {MANY} devices", "byte", "what is allowed", "less"),
            partial(_memory, together, alone),
            lambda _: Figure(MOST_BYTES),
            pairs=1,
        )
        time.sleep(SETTLE_SECONDS)
        bench.compare(
            Case("scale", f"{MANY} idle devices", "% of a processor", "what is allowed", "less"),
            partial(_idle, together, 4.0 if bench.quick else 20.0),
            lambda _: Figure(MOST_IDLE),
            pairs=1,
        )
    for guests in (4,) if bench.quick else (4, 16):
        _fairness(bench, guests)


class Served:
    """A running service of so many devices."""

    def __init__(self, process: ServiceProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder


@contextmanager
def _served(bench: Run, count: int) -> Iterator[Served]:
    devices = [{"type": "rng", "name": f"rng{number}", "window": WINDOW} for number in range(count)]
    text = service_text() + guest_text("guest", "64M", *devices, vectors=64)
    with bench.scratch() as folder, service(folder, text, processor=bench.processors.device) as process:
        yield Served(process, folder)


def _set_up(served: Served, count: int, seconds: float) -> Figure:
    """From the first look at the link to DRIVER_OK, for each of so many devices that stay up meanwhile."""
    with ExitStack() as stack:
        client = stack.enter_context(guest(served.folder, "guest"))
        start = time.perf_counter()
        for number in range(count):
            device = stack.enter_context(driven(client, f"rng{number}"))
            device.transport.negotiate(0)
            device.transport.setup_queue(0)
            device.transport.ready()
        taken = time.perf_counter() - start
    return Figure(taken / count * 1e6)


def _memory(many: Served, one: Served, seconds: float) -> Figure:
    """What 63 further devices took."""
    return Figure(max(own_memory(many.process.pid) - own_memory(one.process.pid), 1) / (MANY - 1))


def _idle(served: Served, span: float, seconds: float) -> Figure:
    before = processor_seconds(served.process.pid)
    start = time.perf_counter()
    time.sleep(span)
    used = processor_seconds(served.process.pid) - before
    return Figure(max(100 * used / (time.perf_counter() - start), 1e-6))


def _fairness(bench: Run, guests: int) -> None:
    """Every guest asks for as much as it can get; the least any of them got beside an even share."""
    with bench.scratch() as folder, own_disks(folder, guests, processor=bench.processors.device) as disks:

        def share(seconds: float) -> Figure:
            with ThreadPoolExecutor(guests) as pool:
                futures = [pool.submit(disk.run, Work(8), max(seconds, 0.5), polled=False) for disk in disks]
                rates = [future.result().rate for future in futures]
            return Figure(min(rates) / (sum(rates) / guests), {"all, request/s": sum(rates)})

        bench.compare(
            Case("scale", f"least share of {guests} guests", "even share", "even shares"), share, lambda _: Figure(1.0)
        )
