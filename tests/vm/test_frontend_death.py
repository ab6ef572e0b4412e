# SPDX-License-Identifier: MIT
"""Front-ends that go mid-work, in every way they can: the next one starts at once, nothing stale gets to the disk."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.busy_guest import DISK_LOOPS, assert_only, start_load, stop_load, wait_round, write_once
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works, backends, link_states, wait_for, wait_in_guest

LONG_CRASHES = 20
# From the moment a crash is asked for to the first line of the next kernel: what a panic prints is as it should be.
CRASH = re.compile(r"sysrq: Trigger a crash.*?(?=Linux version |\Z)", re.DOTALL)
AT_ONCE = "panic=-1"

Around = Callable[[Site, ServiceProcess], AbstractContextManager[None]]
"""What is so with the back-ends while a guest dies and comes up again."""


@pytest.fixture
def service(site: Site) -> Iterator[ServiceProcess]:
    with ServiceProcess(["serve", str(site.config)], site.folder) as running:
        yield running


# -- how a guest ends -------------------------------------------------------------------------------------------------


def crash(guest: Guest) -> None:
    """Returns when it has come up again by itself."""
    guest.shell.post("echo c > /proc/sysrq-trigger")
    guest.wait_ready()


def served(site: Site, service: ServiceProcess) -> AbstractContextManager[None]:
    """Back-ends at work."""
    return nullcontext()


@contextmanager
def stopped(site: Site, service: ServiceProcess) -> Iterator[None]:
    """Back-ends that stand still, with requests in their rings, and go on when the next guest is there."""
    pids = backends(service)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def killed(site: Site, service: ServiceProcess) -> Iterator[None]:
    """Back-ends that end with requests in their hands. Those after them, which find out what these were, get no access
    to the image before the next guest is there."""
    pids = backends(service)
    with site.image("web").open("rb") as lock, ThreadPoolExecutor(1) as thread:
        locking = thread.submit(fcntl.flock, lock, fcntl.LOCK_EX)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        locking.result()
        yield


def live_and_die(
    guest: Guest, site: Site, service: ServiceProcess, life: int, around: Around, die: Callable[[Guest], None]
) -> None:
    """One life that ends mid-work, and the beginning of the next: it writes what it wants where the other wrote."""
    # The console of a guest cannot wait: its kernel spins until what it writes is taken, and no other task gets on.
    start_load(guest, life, without="console" if around is stopped else "")
    with around(site, service):
        die(guest)
    wait_in_guest(guest, "[ -b /dev/vda ]", 30)
    write_once(guest, life + 1)
    assert_only(site.image("web"), life + 1)


def assert_clean_but_for_crashes(guest: Guest) -> None:
    found = trouble(CRASH.sub("", guest.kernel_log.read_text("utf-8", "replace")))
    assert not found, "\n".join(found[:10])


WAYS: list[tuple[Around, Callable[[Guest], None]]] = [
    (served, crash),
    (stopped, crash),
    (killed, crash),
    (served, Guest.reset),
    (killed, Guest.reset),
]


@pytest.mark.newest_kernel
def test_guests_that_die(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False, append=AT_ONCE)
    life = 1
    for around, die in WAYS:
        live_and_die(guest, site, service, life, around, die)
        life += 2
    assert_only(site.image("web"), life - 1)
    assert_works(guest, site, "web")
    assert_clean_but_for_crashes(guest)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_twenty_crashes_in_a_row(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False, append=AT_ONCE)
    for number in range(LONG_CRASHES):
        live_and_die(guest, site, service, 2 * number + 1, (served, stopped, killed)[number % 3], crash)
    assert_works(guest, site, "web")
    assert_clean_but_for_crashes(guest)


def test_qemu_killed_mid_work(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    before = boot(doorbells=site.doorbells("web"), name="before", cpus=2)
    start_load(before, 1)
    before.kill()
    after = boot(doorbells=site.doorbells("web"), name="after")
    write_once(after, 2)
    assert_only(site.image("web"), 2)
    assert_works(after, site, "web")


# -- how a driver ends ------------------------------------------------------------------------------------------------


def unload(guest: Guest) -> None:
    """The module goes and comes back, every device with it."""
    guest.run("rmmod virtio_ivshmem")
    wait_round(guest, "missed", DISK_LOOPS)
    guest.run("modprobe virtio_ivshmem")
    wait_in_guest(guest, "[ -b /dev/vda ]", 10)
    wait_round(guest, "done")


def unbind_each(guest: Guest) -> None:
    """Each device loses its driver and gets it back."""
    for name in guest.run("ls /sys/bus/virtio/devices").split():
        driver = guest.run(f"readlink -f /sys/bus/virtio/devices/{name}/driver")
        guest.run(f"echo {name} > {driver}/unbind")
        if driver.endswith("virtio_blk"):
            wait_round(guest, "missed", DISK_LOOPS)
        guest.run(f"echo {name} > {driver}/bind")
        wait_round(guest, "done")


def sleep(guest: Guest) -> None:
    """To RAM, and awake again."""
    guest.shell.post("echo mem > /sys/power/state")
    wait_for(lambda: dict(guest.monitor("query-status"))["status"] == "suspended", "the guest to sleep", 30)  # type: ignore[call-overload]
    guest.monitor("system_wakeup")
    # What is typed at a serial port before its driver is awake is lost.
    wait_for(lambda: "PM: suspend exit" in guest.kernel_log.read_text("utf-8", "replace"), "the guest to wake", 60)
    wait_round(guest, "done")


@pytest.mark.newest_kernel
def test_drivers_that_leave_mid_work(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, append="no_console_suspend")
    start_load(guest, 1)
    sleep(guest)
    assert {link["registrations"] for link in link_states(guest).values()} == {"1"}
    unload(guest)
    unbind_each(guest)
    stop_load(guest)
    assert_works(guest, site, "web")
