# SPDX-License-Identifier: MIT
"""The accelerator probe: its image is what its source says, and it tells a guest that works from one that does not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ivshmem_virtio.vm import accelerator, probe_rom
from ivshmem_virtio.vm.cache import cache_folder
from ivshmem_virtio.vm.errors import AcceleratorUnavailable, ProbeBroken

SOURCE = Path(probe_rom.__file__).with_name("probe.S")
QEMU = shutil.which(accelerator.QEMU)
needs_qemu = pytest.mark.skipif(QEMU is None, reason="needs QEMU: apt-get install qemu-system-x86")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to assemble the probe: apt-get install gcc")
def test_the_image_is_what_the_source_assembles_to(tmp_path: Path) -> None:
    linked = tmp_path / "probe.bin"
    flat = "-Wl,-Ttext=0,-e0,--oformat=binary,--build-id=none"
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", flat, "-o", linked, SOURCE], check=True)
    assert linked.read_bytes() == probe_rom.image()


def test_the_calculation_has_the_result_it_is_checked_for() -> None:
    constants = dict(re.findall(r"\.set\s+(\w+), (\w+)", SOURCE.read_text()))
    value = 1
    for _ in range(int(constants["ROUNDS"])):
        value = (value * 6364136223846793005 + 1442695040888963407) % 2**64
    assert value == int(constants["RESULT"], 16)


@needs_qemu
def test_the_probe_passes_under_tcg() -> None:
    assert accelerator.run_probe(str(QEMU), "tcg") is None


@needs_qemu
def test_a_guest_that_computes_wrong_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = bytearray(probe_rom.image())
    damaged[0x307A + 2] ^= 1  # the multiplier
    monkeypatch.setattr(probe_rom, "image", lambda: bytes(damaged))
    assert "status 87" in str(accelerator.run_probe(str(QEMU), "tcg"))


@needs_qemu
def test_a_guest_that_hangs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = probe_rom.image()[:0xFFF0] + b"\xeb\xfe" + bytes(14)
    monkeypatch.setattr(probe_rom, "image", lambda: stuck)
    monkeypatch.setitem(accelerator._TIMEOUT_SECONDS, "tcg", 1.0)
    assert accelerator.run_probe(str(QEMU), "tcg") == "the probe guest hung (1 s)"


@needs_qemu
def test_a_probe_that_fails_under_tcg_says_nothing_about_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("there is no /dev/kvm, so no probe would run")
    monkeypatch.setattr(probe_rom, "image", lambda: bytes(probe_rom.SIZE))
    monkeypatch.setitem(accelerator._TIMEOUT_SECONDS, "tcg", 1.0)
    with pytest.raises(ProbeBroken, match="even under TCG"):
        accelerator.choose("auto")


@needs_qemu
def test_auto_and_kvm_agree() -> None:
    chosen = accelerator.choose("auto")
    assert chosen.accelerator in ("kvm", "tcg")
    if chosen.accelerator == "kvm":
        assert accelerator.choose("kvm").accelerator == "kvm"
    else:
        assert "KVM does not run a guest here" in chosen.reason
        with pytest.raises(AcceleratorUnavailable, match="use TCG"):
            accelerator.choose("kvm")


@needs_qemu
def test_the_answer_is_remembered_for_this_boot_only() -> None:
    if not Path("/dev/kvm").exists():
        pytest.skip("there is no /dev/kvm, so there is no answer to remember")
    first = accelerator.choose("auto")
    memory = cache_folder() / "accelerator.json"
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({**known, "failure": "remembered"}))
    assert accelerator.choose("auto").reason.endswith("remembered")
    memory.write_text(json.dumps({"key": ["another boot", *known["key"][1:]], "failure": "remembered"}))
    assert accelerator.choose("auto") == first


def test_tcg_needs_no_probe() -> None:
    assert accelerator.choose("tcg").accelerator == "tcg"


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(AcceleratorUnavailable, match="'xen' is unknown"):
        accelerator.choose("xen")
