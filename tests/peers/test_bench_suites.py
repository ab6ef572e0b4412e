# SPDX-License-Identifier: MIT
"""Every suite in its smallest form: the figures mean nothing, but nothing fails and every row is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.registry import find
from ivshmem_virtio.bench.run import Run

ROWS = {"copy": 6, "kick": 2, "ring": 18, "blk": 10, "net": 4, "scale": 5}
SECONDS = {"net": 0.2}
"""The peer spins, and gets its processor only now and then while other tests run."""
NEEDED = {"net": "dpdk-testpmd"}

needs_two = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="load and device need a processor each: run where two may be used"
)


@needs_two
@pytest.mark.parametrize(
    "suite",
    ["copy", "kick", "blk", "net", *(pytest.param(suite, marks=pytest.mark.soak) for suite in ("ring", "scale"))],
)
def test_smallest_form(suite: str, folder: Path) -> None:
    program = NEEDED.get(suite)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: 'make bench' installs it")
    bench = Run(Processors.choose(), True, folder, 1, SECONDS.get(suite, 0.02), image_bytes=8 << 20)
    find(suite)(bench)
    assert len(bench.rows) >= ROWS[suite]
    for row in bench.rows:
        assert row.suite == suite
        assert row.ours > 0, row
        assert row.peer > 0, row
        assert len(row.runs) == 1
    assert len({(row.case, row.peer_name) for row in bench.rows}) == len(bench.rows)


@needs_two
def test_command_writes_the_report(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    command = [sys.executable, "-m", "ivshmem_virtio", "bench", "nonsense", "--quick", "--json", str(file)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("ivshmem-virtio: no suite 'nonsense'")
    assert not file.exists()
