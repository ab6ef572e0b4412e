# SPDX-License-Identifier: MIT
"""Nobody answers a guest: its back-ends are dead and so is, or stands still, who would start them again.

The guest goes on, lets its driver go if it is asked to, and works again when a back-end is back.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.service.running_service import processes_naming
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import (
    GUEST,
    READY,
    Site,
    assert_works,
    backends,
    command_line,
    link_states,
    wait_for,
    wait_in_guest,
)

FEW_SECONDS = 30.0
"""For what takes up to 4 s by the rules; the machine may be busy."""
AT_ONCE_SECONDS = 5.0
# What is answered with an error on purpose; the kernel says so, as it should.
REFUSED = re.compile(r"I/O error, dev vd|Buffer I/O error on dev vd")
SLOW_DISK = GUEST.replace('window = "4M"\n  [[guest.device]]\n  type = "console"', 'window = "4M"\n  delay_ms = 800\n'
                          '  [[guest.device]]\n  type = "console"')  # fmt: skip
BLOCK = 4096
HELD = range(0, 256, 8)


def with_packed(*types: str) -> str:
    """The guest's configuration, with packed rings for these types of device."""
    text = GUEST
    for name in types:
        assert f'type = "{name}"' in text
        text = text.replace(f'type = "{name}"', f'type = "{name}"\n  ring = "packed"')
    return text


@contextmanager
def nobody(service: ServiceProcess) -> Iterator[None]:
    """The back-ends are killed, and the keeper stands still meanwhile: nothing tells the guest that they are gone."""
    stop(service.pid)
    try:
        kill(backends(service))
        yield
    finally:
        os.kill(service.pid, signal.SIGCONT)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", f"{pid} to stop")


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(command_line(str(pid)) for pid in pids), "the processes to end")


def vaults(site: Site) -> list[int]:
    """What would keep everything for another keeper."""
    return [pid for pid in processes_naming(site.folder / "run") if b"service.vault" in command_line(str(pid))]


def timed(guest: Guest, command: str) -> float:
    """Run a command that may fail, but has to come to an end; the seconds it took."""
    began = time.monotonic()
    guest.run(f"{command}; true", timeout=FEW_SECONDS)
    return time.monotonic() - began


def counted(guest: Guest, link: str, key: str) -> int:
    return int(link_states(guest)[link][key])


def link_folder(guest: Guest, name: str) -> str:
    """Name of a link's device on the auxiliary bus."""
    return guest.run(f"grep -lx 'name {name}' /sys/kernel/debug/virtio_ivshmem/*/state").split("/")[-2]


def read_in_background(guest: Guest) -> None:
    """I/O that nobody serves."""
    read = "dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct"
    guest.run(f"rm -f /run/read; ({read} 2>/dev/null; echo $? > /run/read) >/dev/null 2>&1 &")
    guest.run("sleep 0.3; [ ! -e /run/read ]")


def assert_clean_but_for_what_was_refused(guest: Guest) -> None:
    found = trouble(guest.kernel_log.read_text("utf-8", "replace"))
    assert not [line for line in found if not REFUSED.search(line)], found


@pytest.mark.newest_kernel
def test_one_processor(site: Site, boot: BootGuest) -> None:
    """Console and network drivers spin for answers with interrupts off, so that nothing else can run there."""
    site.write("web", template=with_packed("console"))
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"), cpus=1)
        assert_works(guest, site, "web")
        with nobody(service):
            first = timed(guest, "echo lost > /dev/hvc0")
            assert timed(guest, "for i in 1 2 3 4 5; do echo more > /dev/hvc0; done") < AT_ONCE_SECONDS
            network = timed(guest, "ip link set eth0 up; ip link set eth0 promisc on; ip link set eth0 promisc off")
            assert counted(guest, "serial", "dropped") >= 6
            assert counted(guest, "serial", "standin_passes") >= 1
            assert counted(guest, "disk", "refused") == 0
        assert_works(guest, site, "web", within=10)
        states = link_states(guest)
        assert {link["registrations"] for link in states.values()} == {"1"}
        print(f"first line {first:.1f} s, network {network:.1f} s, {states['serial']['dropped']} outputs dropped")


def test_a_back_end_that_only_stood_still(site: Site, kernel: Kernel, boot: BootGuest) -> None:
    """It finds its ring taken, and begins afresh instead of writing to it. One layout on each kernel."""
    if kernel.series == "6.12":
        site.write("web", template=with_packed("blk", "console", "net", "rng"))
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"), cpus=2)
        assert_works(guest, site, "web")
        still = backends(service)
        for pid in still:
            stop(pid)
        try:
            timed(guest, "echo lost > /dev/hvc0")
            assert counted(guest, "serial", "dropped") >= 1
        finally:
            for pid in still:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: counted(guest, "serial", "registrations") == 2, "the console to be registered anew")
        assert_works(guest, site, "web", within=10)
        assert counted(guest, "disk", "registrations") == 1
        assert "beginning afresh" in service.log.read_text()


@pytest.mark.newest_kernel
def test_drivers_are_let_go(site: Site, kernel: Kernel, module: Path, boot: BootGuest) -> None:
    site.write("web", template=with_packed("blk", "net"))
    tools = build_initrd(kernel, module, programs={"sbin/ethtool": "ethtool"})
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"), cpus=2, initrd=tools, clean_log=False)
        assert_works(guest, site, "web")
        guest.run("ip link set eth0 up")
        with nobody(service):
            rings = timed(guest, "/sbin/ethtool -G eth0 rx 64 tx 64; /sbin/ethtool -L eth0 combined 1")
            read_in_background(guest)
            folder = f"/sys/bus/auxiliary/devices/{link_folder(guest, 'disk')}"
            wait_in_guest(guest, f"echo 1 2>/dev/null > {folder}/give_up", 15)
            wait_in_guest(guest, "grep -q 1 /run/read", FEW_SECONDS)
            guest.run(f"echo 0 > {folder}/give_up")
            assert counted(guest, "disk", "refused") >= 1
            read_in_background(guest)
            unbind = timed(guest, f"basename {folder} > {folder}/driver/unbind")
            guest.run(f"grep -q 1 /run/read; basename {folder} > /sys/bus/auxiliary/drivers/virtio_ivshmem.link/bind")
        assert_works(guest, site, "web", within=15)
        with nobody(service):
            read_in_background(guest)
            unload = timed(guest, "rmmod virtio_ivshmem")
            guest.run("grep -q 1 /run/read; [ ! -d /sys/module/virtio_ivshmem ]; modprobe virtio_ivshmem")
        wait_in_guest(guest, READY, 15)
        assert_works(guest, site, "web", within=15)
        kill([service.pid, *backends(service), *vaults(site)])
        site.remove_region("web")
        read_in_background(guest)
        last_word = timed(guest, "echo lost > /dev/hvc0")
        timed(guest, "rmmod virtio_ivshmem")
        guest.run("grep -q 1 /run/read; [ ! -d /sys/module/virtio_ivshmem ]")
        assert_clean_but_for_what_was_refused(guest)
        print(f"ethtool {rings:.1f} s, unbind {unbind:.1f} s, unload {unload:.1f} s, last word {last_word:.1f} s")


@pytest.mark.newest_kernel
def test_reset_while_nobody_answers(tmp_path: Path, boot: BootGuest) -> None:
    """What was in flight, with the back-end and in the ring, never reaches the disk of the kernel that comes next."""
    site = Site(tmp_path)
    site.write("web", template=SLOW_DISK)
    image = site.image("web")
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"))
        wait_in_guest(guest, READY, 30)
        writes = " ".join(str(block) for block in HELD)
        guest.run("tr '\\0' 'S' < /dev/zero | head -c 4096 > /run/stale; sync")
        guest.run(
            f"for b in {writes}; do dd if=/run/stale of=/dev/vda bs=4k seek=$b oflag=direct conv=notrunc "
            "2>/dev/null & done; sleep 0.1"
        )
        with nobody(service):
            before = image.read_bytes()
            landed = [block for block in HELD if before[block * BLOCK : (block + 1) * BLOCK] == b"S" * BLOCK]
            assert len(landed) < len(HELD), "everything was written before the back-end was killed"
            guest.reset()
            wait_in_guest(guest, "grep -qx 'state waiting' /sys/kernel/debug/virtio_ivshmem/*/state", 15)
        wait_in_guest(guest, READY, 30)
        guest.run("dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null")
        time.sleep(1)
        assert image.read_bytes() == before
        print(f"{len(HELD) - len(landed)} of {len(HELD)} writes were in flight, none of them landed")
