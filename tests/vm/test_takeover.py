# SPDX-License-Identifier: MIT
"""Keepers are killed and replaced under a guest that works: it sees at most a pause, and no error."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.service import ServiceProcess
from tests.service.running_service import processes_naming
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works, backends, link_states, wait_for, wait_in_guest
from tests.vm.test_resume import WORK

MORE_ROUNDS = 3
"""Of work, each of which writes and reads half a megabyte, in each situation."""


@contextmanager
def keepers(site: Site) -> Iterator[list[ServiceProcess]]:
    """Keepers that a test starts; all of them are ended, and the vault if it outlives them."""
    started: list[ServiceProcess] = []
    try:
        yield started
    finally:
        for service in started:
            service.stop()
        left = processes_naming(site.folder / "run")
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert not left


def start(site: Site, started: list[ServiceProcess], *options: str) -> ServiceProcess:
    started.append(ServiceProcess(["serve", str(site.config), *options], site.folder, f"keeper{len(started)}"))
    return started[-1]


def works_on(guest: Guest) -> None:
    """A few more rounds of what the guest does."""
    rounds = int(guest.run("cat /run/rounds"))
    wait_in_guest(guest, f"[ $(cat /run/rounds) -ge {rounds + MORE_ROUNDS} ]", 60)


def absent_ms(guest: Guest) -> dict[str, int]:
    return {name: int(link["absent_total_ms"]) for name, link in link_states(guest).items()}


@pytest.mark.newest_kernel
def test_keepers_are_killed_and_replaced_under_load(site: Site, boot: BootGuest) -> None:
    """The kernel log is checked as well: an I/O error would stand there."""
    with keepers(site) as started:
        first = start(site, started)
        guest = boot(doorbells=site.doorbells("web"), cpus=2)
        assert_works(guest, site, "web")
        guest.run(WORK)
        wait_in_guest(guest, "[ -s /run/rounds ]", 60)
        serving = backends(first)
        before = absent_ms(guest)

        first.kill()
        works_on(guest)
        second = start(site, started)
        works_on(guest)
        assert absent_ms(guest) == before, "nobody was away"
        assert "took over guests web" in second.log.read_text()
        assert all(Path(f"/proc/{pid}").exists() for pid in serving)

        third = start(site, started, "--replace")
        works_on(guest)
        assert second.stop() == 0
        pauses = {name: total - before[name] for name, total in absent_ms(guest).items()}
        assert len(backends(third)) == len(serving)
        said = [line for line in third.log.read_text().splitlines() if "served again after" in line]
        print(f"absent for the guest: {pauses} ms;", *said)

        guest.run("touch /run/stop")
        wait_in_guest(guest, "[ -e /run/done ]", 60)
        assert guest.run("cat /run/bad 2>/dev/null || true") == ""
        assert_works(guest, site, "web", within=10)
        digest = hashlib.sha256(site.image("web").read_bytes()).hexdigest()
        assert guest.run("sha256sum < /dev/vda").split()[0] == digest
        assert {link["registrations"] for link in link_states(guest).values()} == {"1"}
        guest.stop()
        wait_for(lambda: "peer 1: left" in third.log.read_text(), "the third keeper to see the guest leave")
