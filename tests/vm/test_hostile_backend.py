# SPDX-License-Identifier: MIT
"""A guest under a hostile back-end: many scenarios in one boot, and then a good back-end serves it as if nothing was.

The short run is always the same sample; the long one has another seed each time, which is in the test's output.
``IVSHMEM_EVIL_SEED`` gives one, and ``IVSHMEM_EVIL_SCENARIOS=a,b`` plays those.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from random import Random

import pytest

from ivshmem_virtio.evil.backend.catalogue import playable
from tests.figures import Figures
from tests.vm.conftest import BootGuest
from tests.vm.hostile_guest import DISK_AGAIN, ENOUGH, TRAFFIC, HostileSite, Played, faults
from tests.vm.served_guest import assert_works

NAMES = [scenario.name for scenario in playable() if not scenario.packed]
PACKED = [scenario.name for scenario in playable() if scenario.packed]
NEEDS_RUNNING = {scenario.name for scenario in playable() if not scenario.early}
SAMPLE = 24
# None of them leaves requests unanswered, which the next one would have to wait for.
SAMPLE_PACKED = ["packed-used-everywhere", "packed-used-length-huge", "packed-used-lap-of-one"]
# Where the kernel can look for memory that nobody points to any more, it says in its log what it found.
LEAKS = "/sys/kernel/debug/kmemleak"
LEAK_SCAN = f"[ ! -e {LEAKS} ] || {{ echo scan > {LEAKS}; sleep 6; echo scan > {LEAKS}; cat {LEAKS}; }}"
PER_BOOT = 20
# A driver that met a back-end which answers nothing needs some seconds to be rid of it, and many where processors are
# few and busy.
RECOVERY_SECONDS = 120.0


def seed() -> int:
    return int(os.environ.get("IVSHMEM_EVIL_SEED", "0")) or secrets.randbits(31)


def test_there_are_enough_scenarios() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 50


@pytest.mark.newest_kernel
def test_a_sample_of_scenarios(tmp_path: Path, boot: BootGuest) -> None:
    chosen = os.environ.get("IVSHMEM_EVIL_SCENARIOS")
    number = int(os.environ.get("IVSHMEM_EVIL_SEED", "8"))
    names = chosen.split(",") if chosen else Random(number).sample(NAMES, SAMPLE) + SAMPLE_PACKED
    withstand(tmp_path, boot, names, number, seconds=1.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(-(-len(NAMES) // PER_BOOT)))
def test_every_scenario(
    tmp_path: Path, boot: BootGuest, part: int, figures: Figures, request: pytest.FixtureRequest
) -> None:
    names = NAMES[part * PER_BOOT : (part + 1) * PER_BOOT]
    played = withstand(tmp_path, boot, names, seed(), seconds=3.0)
    note(figures, request, f"part {part + 1}", played)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(-(-len(PACKED) // PER_BOOT)))
def test_every_scenario_of_packed_rings(
    tmp_path: Path, boot: BootGuest, part: int, figures: Figures, request: pytest.FixtureRequest
) -> None:
    names = PACKED[part * PER_BOOT : (part + 1) * PER_BOOT]
    played = withstand(tmp_path, boot, names, seed(), seconds=3.0)
    note(figures, request, f"packed rings, part {part + 1}", played)


def note(figures: Figures, request: pytest.FixtureRequest, what: str, played: list[Played]) -> None:
    figures(
        f"hostile back-end, Linux {request.node.callspec.params['kernel']}, {what}",
        scenarios=len(played),
        acts=sum(play.done for play in played),
        answered=sum(play.answered for play in played),
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_rings_that_the_peer_cannot_write(tmp_path: Path, boot: BootGuest) -> None:
    """NEXT flags set and cleared in the window: what brings down a driver whose ring is shared."""
    names = [scenario.name for scenario in playable(next_flags=True) if scenario.writes_next]
    withstand(tmp_path, boot, names, seed(), seconds=3.0)


def withstand(folder: Path, boot: BootGuest, names: list[str], number: int, *, seconds: float) -> list[Played]:
    """Play, under traffic; then a good back-end, working devices, a clean log, and nothing leaked."""
    print(f"seed {number}: {', '.join(names)}")
    site = HostileSite(folder)
    with site.server():
        guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False)
        guest.run(f"({TRAFFIC}) >/dev/null 2>&1 &")
        played = site.play(names, seed=number, seconds=seconds)
        assert [play.scenario for play in played] == names
        with site.good_backend():
            guest.run(ENOUGH)
            guest.run(DISK_AGAIN)
            assert_works(guest, site, "web", within=RECOVERY_SECONDS)
            assert not faults(guest), "\n".join(faults(guest))
            guest.run("rmmod virtio_ivshmem", timeout=60)
            assert "with leaks" not in guest.dmesg()
            print(guest.run(LEAK_SCAN, timeout=120))
    assert not faults(guest), "\n".join(faults(guest))
    check_bite(played)
    return played


def check_bite(played: list[Played]) -> None:
    """A scenario that did nothing to a running driver would prove nothing."""
    idle = [play.scenario for play in played if not play.done]
    assert not idle
    unmet = [play.scenario for play in played if play.scenario in NEEDS_RUNNING and not play.running]
    assert not unmet, f"no driver came up for {unmet}"
    split = [
        play.scenario for play in played if play.scenario in NEEDS_RUNNING.intersection(PACKED) and not play.packed
    ]
    assert not split, f"no driver ran on packed rings for {split}"
