# SPDX-License-Identifier: MIT
"""Front-ends that go mid-work, in every way they can: the next one starts at once, nothing stale gets to the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.busy_guest import assert_only, start_load, write_once
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works, wait_in_guest

CRASHES = 4
LONG_CRASHES = 20
# From the moment a crash is asked for to the first line of the next kernel: what a panic prints is as it should be.
CRASH = re.compile(r"sysrq: Trigger a crash.*?(?=Linux version |\Z)", re.DOTALL)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("web")
    return made


@pytest.fixture
def service(site: Site) -> Iterator[ServiceProcess]:
    with ServiceProcess(["serve", str(site.config)], site.folder) as running:
        yield running


def assert_clean_but_for_crashes(guest: Guest) -> None:
    found = trouble(CRASH.sub("", guest.kernel_log.read_text("utf-8", "replace")))
    assert not found, "\n".join(found)


def crash(guest: Guest) -> None:
    """Returns when it has come up again by itself."""
    guest.shell.post("echo c > /proc/sysrq-trigger")
    guest.wait_ready()


def lives(guest: Guest, site: Site, deaths: int) -> None:
    """A guest that crashes mid-work ``deaths`` times."""
    for life in range(1, 2 * deaths, 2):
        assert_works(guest, site, "web")
        start_load(guest, life)
        crash(guest)
        wait_in_guest(guest, "[ -b /dev/vda ]", 10)
        write_once(guest, life + 1)
        assert_only(site.image("web"), life + 1)
    assert_works(guest, site, "web")


def test_crashes_in_a_row(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False)
    lives(guest, site, CRASHES)
    assert_clean_but_for_crashes(guest)


@pytest.mark.soak
def test_twenty_crashes_in_a_row(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False)
    lives(guest, site, LONG_CRASHES)
    assert_clean_but_for_crashes(guest)
