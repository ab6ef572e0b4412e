# SPDX-License-Identifier: MIT
"""What a guest's module lives through: lost back-ends, sleep, links that come and go."""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.link.layout import (
    DIRECTORY_ENTRY_SIZE,
    DIRECTORY_FIRST_ENTRY,
    PAGE_SIZE,
    Entry,
    EntryState,
    Header,
    State,
    round_up,
)
from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works, backends, link_states, wait_for, wait_in_guest

DEVICES = 4
DISK = 0
# The unsuspecting reader of a disk that is lost gets an error; the kernel logs it, as it should.
IO_ERROR = re.compile(r"I/O error.* dev vda")


@pytest.fixture
def service(site: Site) -> Iterator[ServiceProcess]:
    with ServiceProcess(["serve", str(site.config)], site.folder) as running:
        yield running


def test_requests_in_flight_when_a_back_end_is_lost(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    """A back-end that comes back with another image: what was in flight is answered and a new device takes over."""
    guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False)
    assert_works(guest, site, "web")
    reader = (
        "(while dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo ended >> /run/ended) &"
    )
    guest.run(reader * 4)
    site.replace_image("web")
    for pid in backends(service):
        os.kill(pid, signal.SIGKILL)
    assert_works(guest, site, "web", within=20)
    guest.run("rmmod virtio_ivshmem")
    assert "given back" in guest.dmesg().splitlines()[-1]
    found = [line for line in trouble(guest.kernel_log.read_text("utf-8", "replace")) if not IO_ERROR.search(line)]
    assert not found


def test_back_end_that_stops_and_goes_on(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    """Only the heartbeat tells that it stands still; I/O waits, nothing fails, and it goes on where it was."""
    guest = boot(doorbells=site.doorbells("web"), cpus=2)
    assert_works(guest, site, "web")
    stopped = backends(service)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        guest.run("(dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; echo $? > /run/read) &")
        wait_for(lambda: link_states(guest)["disk"]["backend"] == "absent", "the module to miss the heartbeat", 15)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    wait_in_guest(guest, "grep -q 0 /run/read", 20)
    assert_works(guest, site, "web")
    assert {link["registrations"] for link in link_states(guest).values()} == {"1"}


def test_sleep(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    guest = boot(doorbells=site.doorbells("web"), cpus=2, append="no_console_suspend")
    assert_works(guest, site, "web")
    guest.run("(sleep 0.5; echo mem > /sys/power/state; echo $? > /run/woken) >/dev/null 2>&1 &")
    wait_for(lambda: dict(guest.monitor("query-status"))["status"] == "suspended", "the guest to sleep", 20)  # type: ignore[call-overload]
    guest.monitor("system_wakeup")
    # What is typed at a serial port before its driver is awake is lost.
    wait_for(lambda: "PM: suspend exit" in guest.kernel_log.read_text("utf-8", "replace"), "the guest to wake", 30)
    wait_in_guest(guest, "grep -q 0 /run/woken", 20)
    assert_works(guest, site, "web", within=10)
    assert {link["registrations"] for link in link_states(guest).values()} == {"1"}


def test_links_go_and_come(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    """The directory's entries say "removing": the front-end lets go of each link, and takes it up again later."""
    guest = boot(doorbells=site.doorbells("web"), cpus=2)
    assert_works(guest, site, "web")
    service_name = load_config(site.config).service.name
    region = Path("/dev/shm") / f"{service_name}.web"
    with region.open("r+b", buffering=0) as memory:
        for state in (EntryState.REMOVING, EntryState.IN_USE):
            for index in range(DEVICES):
                _write_entry(memory.fileno(), index, Entry.STATE, state)
            wanted = State.ABSENT if state is EntryState.REMOVING else State.READY
            wait_for(
                lambda wanted=wanted: {_frontend_state(memory.fileno(), i) for i in range(DEVICES)} == {wanted},  # type: ignore[misc]
                f"the front-end's state to be {wanted} everywhere",
            )
    assert_works(guest, site, "web", within=10)
    # Somebody takes the guest for dead; the back-end believes it, and the front-end begins anew.
    before = max(int(link["registrations"]) for link in link_states(guest).values())
    with region.open("r+b", buffering=0) as memory:
        for index in range(DEVICES):
            _declare_absent(memory.fileno(), index)
    wait_for(
        lambda: all(int(link["registrations"]) > before for link in link_states(guest).values()),
        "every device to be registered anew",
    )
    assert_works(guest, site, "web", within=10)
    with region.open("r+b", buffering=0) as memory:
        room = _entry(memory.fileno(), DISK, Entry.RW_SIZE)
        _write_entry(memory.fileno(), DISK, Entry.RW_SIZE, _window_of_one_page(memory.fileno(), DISK))
        # A request that cannot ever get into the window would be tried for ever, and its device never go.
        wait_for(lambda: "a disk needs" in guest.kernel_log.read_text(), "the disk to be refused", 30)
        _write_entry(memory.fileno(), DISK, Entry.RW_SIZE, room)
    wait_in_guest(guest, "[ -b /dev/vda ]", 30)
    assert_works(guest, site, "web", within=10)


def _declare_absent(memory: int, index: int) -> None:
    """Long enough for the back-end to look, whenever the front-end puts its state back."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        os.pwrite(memory, bytes(4), _link(memory, index) + 4)
        time.sleep(0.001)


def _entry(memory: int, index: int, field: Entry) -> int:
    size = 8 if field in (Entry.OFFSET, Entry.RW_SIZE) else 4
    at = DIRECTORY_FIRST_ENTRY + index * DIRECTORY_ENTRY_SIZE
    return int.from_bytes(os.pread(memory, size, at + field), "little")


def _write_entry(memory: int, index: int, field: Entry, value: int) -> None:
    sequence = _entry(memory, index, Entry.SEQUENCE)
    size = 8 if field is Entry.RW_SIZE else 4
    at = DIRECTORY_FIRST_ENTRY + index * DIRECTORY_ENTRY_SIZE
    for offset, length, number in (
        (Entry.SEQUENCE, 4, sequence + 1), (field, size, value), (Entry.SEQUENCE, 4, sequence + 2)
    ):  # fmt: skip
        os.pwrite(memory, number.to_bytes(length, "little"), at + offset)


def _window_of_one_page(memory: int, index: int) -> int:
    """Size of a window with the header and rings that are in it, and hardly more."""
    window = _link(memory, index) + _entry(memory, index, Entry.STATE_TABLE_SIZE)
    (used,) = struct.unpack("<I", os.pread(memory, 4, window + Header.SIZE))
    return round_up(int(used), PAGE_SIZE) + PAGE_SIZE


def _frontend_state(memory: int, index: int) -> int:
    (state,) = struct.unpack("<I", os.pread(memory, 4, _link(memory, index) + 4))
    return int(state)


def _link(memory: int, index: int) -> int:
    return _entry(memory, index, Entry.OFFSET)


def test_removal_while_the_back_end_is_absent(site: Site, service: ServiceProcess, boot: BootGuest) -> None:
    """With nothing in flight, taking the devices away does not wait for anybody."""
    guest = boot(doorbells=site.doorbells("web"), cpus=2)
    assert_works(guest, site, "web")
    stopped = backends(service)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(
            lambda: {link["backend"] for link in link_states(guest).values()} == {"absent"}, "the module to notice", 15
        )
        began = time.monotonic()
        guest.run("rmmod virtio_ivshmem")
        assert time.monotonic() - began < 2
        guest.run("modprobe virtio_ivshmem")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert_works(guest, site, "web", within=15)
