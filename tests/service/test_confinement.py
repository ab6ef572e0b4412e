# SPDX-License-Identifier: MIT
"""What a back-end can still do once its guest has taken it over."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivshmem_virtio.service.system_calls import NEEDED
from ivshmem_virtio.transport.driver.rng import RngDriver

from .conftest import ConfigWriter
from .running_service import RunningService, driving, wait_until

DEVICE = """
  [[guest.device]]
  type = "tests.service.misbehaving:Misbehaving"
  name = "evil"
  window = "1M"
  report = "{report}"
  other = "{other}"
  keeper_file = "{keeper_file}"
"""
# The kernel looks for the flags behind clone3's pointer in vain: the C library is told that there is no such call.
DENIALS = {"Permission denied", "Operation not permitted"}
ABSENT = {"become two in a new way": {"Function not implemented"}}


def attempts(config: Path, *, confine: bool) -> dict[str, str]:
    """What the misbehaving device of guest ``web`` was able to do, by attempt."""
    report = config.parent / "report"
    device = DEVICE.format(report=report, other=config.parent / "db.img", keeper_file=config)
    web, db = config.read_text().split('[[guest]]\nname = "db"')
    config.write_text(
        web.replace('runtime_dir = "run"\n', f'runtime_dir = "run"\nconfine = {str(confine).lower()}\n')
        + device
        + f'[[guest]]\nname = "db"{db}'
    )
    with RunningService(config), driving(config.parent / "run" / "web.sock", "evil") as transport:
        RngDriver(transport).read(8)
        wait_until(lambda: report.exists() and report.read_text().endswith("end\n"), "the report")
        return dict(line.split(": ", 1) for line in report.read_text().splitlines()[:-1])


@pytest.fixture
def config(write_config: ConfigWriter) -> Path:
    return write_config("web", "db")


def test_a_back_end_reaches_nothing_but_its_own_guest(config: Path) -> None:
    image = (config.parent / "db.img").read_bytes()
    for attempt, outcome in attempts(config, confine=True).items():
        assert outcome in ABSENT.get(attempt, DENIALS), f"{attempt}: {outcome}"
    assert (config.parent / "db.img").read_bytes() == image


def test_without_confinement_the_attempts_would_succeed(config: Path) -> None:
    """So the test above can fail: this is what the same device does where nothing holds it."""
    outcomes = attempts(config, confine=False)
    for attempt in ("read the image of another guest", "start a program", "become two", "list a region"):
        assert outcomes[attempt].startswith("done"), f"{attempt}: {outcomes[attempt]}"


def test_every_thread_of_a_back_end_is_confined(config: Path) -> None:
    with RunningService(config) as service:
        for pid in service.children():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    status = (task / "status").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended meanwhile
                assert "\nNoNewPrivs:\t1\n" in status
                assert "\nSeccomp:\t2\n" in status


def test_the_list_of_system_calls_has_no_doubles() -> None:
    assert len(NEEDED) == len(set(NEEDED))
