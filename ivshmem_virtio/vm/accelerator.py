# SPDX-License-Identifier: MIT
"""Chooses between KVM and TCG by trying: ``/dev/kvm`` may exist and still hang or kill any 64-bit guest.

A firmware of a few hundred instructions goes to long mode and calculates; only an accelerator that brings back the
right result counts. TCG runs it first: if it fails there, the probe is broken and says nothing about KVM.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ivshmem_virtio.vm import probe_rom
from ivshmem_virtio.vm.cache import cache_folder
from ivshmem_virtio.vm.errors import AcceleratorUnavailable, ProbeBroken
from ivshmem_virtio.vm.packages import tool

QEMU = "qemu-system-x86_64"
CHOICES = ("auto", "kvm", "tcg")
# Real KVM needs a tenth of a second; a hung guest is found out after this.
_TIMEOUT_SECONDS = {"tcg": 30.0, "kvm": 5.0}


class Choice(NamedTuple):
    """Which accelerator to use, and why, for people."""

    accelerator: str
    reason: str


def choose(wish: str = "auto", qemu: str | None = None) -> Choice:
    """The accelerator for ``wish`` ("auto", "kvm" or "tcg"); "auto" falls back to TCG and says why.

    Raises AcceleratorUnavailable when KVM is wished for and does not work, ProbeBroken when TCG fails the probe too.
    """
    if wish == "tcg":
        return Choice("tcg", "asked for")
    if wish not in CHOICES:
        raise AcceleratorUnavailable(f"accelerator {wish!r} is unknown: choose one of {', '.join(CHOICES)}")
    failure = _kvm_failure(qemu or tool(QEMU, "qemu-system-x86"))
    if failure is None:
        return Choice("kvm", "a probe guest ran under KVM")
    if wish == "kvm":
        raise AcceleratorUnavailable(f"KVM does not run a guest here: {failure}; use TCG")
    return Choice("tcg", f"KVM does not run a guest here: {failure}")


def _kvm_failure(qemu: str) -> str | None:
    """Why KVM cannot be used, None when it can. What a probe found is kept until the next boot."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no permission to open /dev/kvm" if os.path.exists("/dev/kvm") else "there is no /dev/kvm"
    memory = cache_folder() / "accelerator.json"
    key = _circumstances(qemu)
    try:
        remembered = json.loads(memory.read_text())
    except (OSError, ValueError):
        remembered = {}
    if isinstance(remembered, dict) and remembered.get("key") == key:
        failure = remembered.get("failure")
        return failure if isinstance(failure, str) else None
    failure = _probe_both(qemu)
    temporary = memory.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"key": key, "failure": failure}))
    temporary.rename(memory)
    return failure


def _circumstances(qemu: str) -> list[str | int]:
    """All that may change the answer: this boot, this QEMU, this user."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    status = os.stat(qemu)
    return [boot, os.path.realpath(qemu), status.st_size, status.st_mtime_ns, os.geteuid()]


def _probe_both(qemu: str) -> str | None:
    control = run_probe(qemu, "tcg")
    if control is not None:
        raise ProbeBroken(f"the accelerator probe fails even under TCG, so KVM was not tried: {control}")
    return run_probe(qemu, "kvm")


def run_probe(qemu: str, accelerator: str) -> str | None:
    """Run the probe firmware; None when its result is right, else what happened."""
    with tempfile.NamedTemporaryFile(prefix="ivshmem-virtio-probe.") as firmware:
        firmware.write(probe_rom.image())
        firmware.flush()
        command = [qemu, "-machine", "q35", "-accel", accelerator, "-cpu", "max", "-m", "16", "-display", "none"]
        command += ["-nodefaults", "-no-reboot", "-bios", firmware.name]
        command += ["-device", f"isa-debug-exit,iobase={probe_rom.EXIT_PORT:#x},iosize=4"]
        limit = _TIMEOUT_SECONDS[accelerator]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return f"the probe guest hung ({limit:.0f} s)"
    if done.returncode == probe_rom.PASSED:
        return None
    # QEMU names itself first, and under an assertion its source file: the rest is what people can search for.
    said = re.sub(r"^[^:]*: (?=error|Could)", "", done.stderr.strip().split("\n", 1)[0])
    return f"QEMU ended with status {done.returncode} ({said or 'no message'})"
