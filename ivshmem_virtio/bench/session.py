# SPDX-License-Identifier: MIT
"""A whole run of chosen suites, from the machine's description to the report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ivshmem_virtio.bench.machine import machine, versions
from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.registry import SUITES, find
from ivshmem_virtio.bench.report import Report, Row
from ivshmem_virtio.bench.run import Run
from ivshmem_virtio.errors import IvshmemVirtioError


def measure(
    names: Sequence[str],
    folder: Path,
    *,
    quick: bool,
    on_row: Callable[[Row], None],
    on_failure: Callable[[str, str], None],
) -> Report:
    """Run suites (all without names) one after the other; ``folder`` is for images.

    A suite that fails, because its peer is not installed for one, is noted and does not keep the others from running.
    Raises UnknownSuite, TooFewProcessors.
    """
    chosen = list(names) or list(SUITES)
    suites = [(name, find(name)) for name in chosen]
    processors = Processors.choose()
    bench = (Run.quickly if quick else Run.fully)(processors, folder, on_row)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    failures: dict[str, str] = {}
    for name, suite in suites:
        try:
            suite(bench)
        except IvshmemVirtioError as error:
            failures[name] = str(error)
            on_failure(name, str(error))
    return Report(
        started=started,
        command=shlex.join(["ivshmem-virtio", "bench", *chosen, *(["--quick"] if quick else [])]),
        quick=quick,
        machine=machine(processors),
        versions=versions(),
        commands=tuple(bench.commands),
        rows=tuple(bench.rows),
        failures=failures,
    )
