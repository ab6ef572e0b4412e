# SPDX-License-Identifier: MIT
"""Every suite in its smallest form: the figures mean nothing, but nothing fails and every row is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ivshmem_virtio.bench.errors import RequestsFailed
from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.registry import find
from ivshmem_virtio.bench.report import Report, Row
from ivshmem_virtio.bench.run import Run
from ivshmem_virtio.bench.service_cost import own_memory, processes, processor_seconds
from ivshmem_virtio.cli.main import run

ROWS = {"copy": 6, "kick": 2, "ring": 18, "blk": 10, "net": 8, "scale": 5}
SECONDS = {"net": 0.2}
"""The peer spins, and gets its processor only now and then while other tests run."""
NEEDED = {"net": "dpdk-testpmd"}

needs_two = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="load and device need a processor each: run where two may be used"
)


def measured(suite: str, folder: Path, seconds: float) -> Run:
    """The suite after its run. A busy machine may keep a device from its processor all the time: then it gets more."""
    for number, longer in enumerate((1, 10, 100)):
        own = folder / str(number)
        own.mkdir()
        bench = Run(Processors.choose(), True, own, 1, longer * seconds, image_bytes=8 << 20)
        try:
            find(suite)(bench)
            return bench
        except RequestsFailed as error:
            failed = error
    raise failed


@needs_two
@pytest.mark.parametrize(
    "suite",
    ["copy", "kick", "blk", *(pytest.param(suite, marks=pytest.mark.soak) for suite in ("ring", "net", "scale"))],
)
def test_smallest_form(suite: str, folder: Path) -> None:
    program = NEEDED.get(suite)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: 'make bench' installs it")
    bench = measured(suite, folder, SECONDS.get(suite, 0.02))
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


@needs_two
def test_report_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def shortly(processors: Processors, folder: Path, on_row: Callable[[Row], None]) -> Run:
        return Run(processors, True, folder, 1, 0.01, on_row=on_row)

    monkeypatch.setattr(Run, "quickly", shortly)
    file = tmp_path / "bench.json"
    assert run(["bench", "copy", "--quick", "--folder", str(tmp_path), "--json", str(file)]) == 0
    report = Report.model_validate_json(file.read_text())
    assert report.command == "ivshmem-virtio bench copy --quick"
    assert {"kernel", "python", "ivshmem-virtio", "qemu-storage-daemon"} <= set(report.versions)
    assert report.machine.load_on != report.machine.device_on
    assert len(report.rows) == ROWS["copy"]
    assert not report.failures
    assert "memcpy" in capsys.readouterr().out


def test_cost_of_a_process_with_its_children() -> None:
    program = "import subprocess, sys; sum(range(10**6)); print(flush=True); subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            deadline = time.monotonic() + 60
            while len(processes(process.pid)) < 2:
                assert time.monotonic() < deadline, "the child was not found"
                time.sleep(0.01)
            assert own_memory(process.pid) > 1 << 20
            assert processor_seconds(process.pid) > 0
        finally:
            for pid in reversed(processes(process.pid)):
                os.kill(pid, signal.SIGKILL)
    assert own_memory(process.pid) == 0
