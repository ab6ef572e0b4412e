# SPDX-License-Identifier: MIT
"""Runs spin on one instance: the model becomes a verifier in C, which visits every state there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.errors import IvshmemVirtioError
from model.instances import Instance

FOLDER = Path(__file__).parent
DEPTH = 1_000_000
"""Steps of the longest run that is looked at; a model that needs more is reported, not cut off."""
SECONDS = 500.0

COMPILER = ("cc", "-w", "-O1", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=1024", "-o", "pan", "pan.c")


class CheckerMissing(IvshmemVirtioError):
    """A program that checking a model needs is not installed."""


class CheckNotFinished(IvshmemVirtioError):
    """A model was not checked to its end: too large, too slow, or not valid."""


@dataclass(frozen=True)
class Outcome:
    """What the verifier found. ``error`` is empty where every property holds in every state."""

    instance: Instance
    error: str
    trail: str
    states: int
    depth: int
    megabytes: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.states:>10,} states, depth {self.depth:>4}, {self.megabytes:>6.0f} MB, {self.seconds:>6.1f} s"


def check(instance: Instance, seconds: float = SECONDS) -> Outcome:
    """Check one instance completely, or until its first error. Raises CheckerMissing and CheckNotFinished."""
    for program in ("spin", COMPILER[0]):
        if shutil.which(program) is None:
            raise CheckerMissing(f"{program} is not installed; 'make deps' installs what the models need")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ivshmem-virtio-model.") as name:
        folder = Path(name)
        macros = [f"-D{macro}" for macro in instance.macros]
        _run(instance, folder, seconds, "spin", *macros, "-a", str(FOLDER / f"{instance.model}.pml"))
        _run(instance, folder, seconds, *COMPILER)
        report = _run(instance, folder, seconds, "./pan", f"-m{DEPTH}")
        trail = _run(instance, folder, seconds, "./pan", "-r") if any(folder.glob("*.trail")) else ""
    return _outcome(instance, report, trail, time.monotonic() - start)


def _run(instance: Instance, folder: Path, seconds: float, *command: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise CheckNotFinished(f"{instance}: {command[0]} did not end within {seconds:.0f} s") from None
    # The verifier ends with 0 whether or not it found something; replaying an error may end otherwise.
    if done.returncode and command[0] != "./pan":
        raise CheckNotFinished(f"{instance}: {command[0]} failed: {done.stdout.strip().splitlines()[-1:]}")
    return done.stdout


def _outcome(instance: Instance, report: str, trail: str, seconds: float) -> Outcome:
    errors = re.search(r"depth reached (\d+), errors: (\d+)", report)
    states = re.search(r"(\d+) states, stored", report)
    memory = re.search(r"([\d.]+)\s+total actual memory usage", report)
    found = re.search(r"^pan:1: (.*) \(at depth \d+\)", report, re.MULTILINE)
    cut_off = "max search depth too small" in report or ("Search not completed" in report and not found)
    if errors is None or states is None or memory is None or cut_off or bool(int(errors[2])) != bool(found):
        raise CheckNotFinished(f"{instance}: the verifier did not come to an end: {report.strip()[-200:]!r}")
    return Outcome(
        instance=instance,
        error=found[1] if found else "",
        trail=trail,
        states=int(states[1]),
        depth=int(errors[1]),
        megabytes=float(memory[1]),
        seconds=seconds,
    )
