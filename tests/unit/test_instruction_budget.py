# SPDX-License-Identifier: MIT
"""How many instructions a worker spends on one request, counted by callgrind: the same on every machine.

A change that goes over a budget is noticed here before any benchmark can tell it from noise. Raise one only together
with what docs/performance.md says of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 10
REQUESTS = ROUNDS * 32
BUDGET = {"split": 520, "packed": 690}
"""For one null request of three descriptors: out of the ring, checked, answered, back into the ring."""
LEAST = 100
"""Fewer cannot be: then nothing was counted."""


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind counts instructions: apt-get install valgrind")
@pytest.mark.parametrize("layout", BUDGET)
def test_instructions_for_one_request(layout: str, tmp_path: Path) -> None:
    out = tmp_path / "callgrind.out"
    count = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no"]
    count.append("--toggle-collect=__pyx_f_14ivshmem_virtio_4core_blk_serve")
    program = [sys.executable, "-S", str(Path(__file__).with_name("instruction_run.py")), layout, str(ROUNDS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*count, *program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
    assert summary is not None
    each = int(summary[1]) / REQUESTS
    assert LEAST < each <= BUDGET[layout], f"{each:.0f} instructions for one request on a {layout} ring"
