# SPDX-License-Identifier: MIT
"""The short form of `make fuzz`: every input of the corpus, then a few seconds of new ones, under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fuzz.campaign import fuzz
from fuzz.corpus import inputs_of
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS_PER_TARGET = 2


@pytest.fixture(scope="module")
def ready() -> None:
    """The fuzzer and an up-to-date core with sanitizers, where they are not there from before."""
    made = subprocess.run(["make", "-s", "fuzz-ready"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.usefixtures("ready")
def test_no_finding(target: str, tmp_path: Path) -> None:
    assert inputs_of(target), "the corpus of this target is missing"
    print(fuzz(target, SECONDS_PER_TARGET, tmp_path))
