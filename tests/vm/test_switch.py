# SPDX-License-Identifier: MIT
"""Two guests exchange files over the switch of one service; a third joins without a restart of anything."""

from __future__ import annotations

from pathlib import Path

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, wait_for, wait_in_guest

FILE = "/tmp/sent"
SEND = f"nc -l -p 7000 -e cat {FILE} >/dev/null 2>&1 &"


def bring_up(guest: Guest, address: str) -> None:
    wait_in_guest(guest, "[ -d /sys/class/net/eth0 ]", 10)
    guest.run(f"ip link set eth0 up; ip addr add {address}/24 dev eth0")


def exchange(sender: Guest, sender_address: str, receiver: Guest, mebibytes: int) -> None:
    """A random file arrives as it was sent."""
    digest = sender.run(f"dd if=/dev/urandom of={FILE} bs=1M count={mebibytes} 2>/dev/null; sha256sum < {FILE}")
    sender.run(SEND)
    wait_in_guest(receiver, f"ping -c 1 -w 2 {sender_address} >/dev/null", 20)
    received = receiver.run(f"nc {sender_address} 7000 </dev/null | sha256sum", timeout=240)
    assert received == digest


def test_files_cross_the_switch_and_a_third_guest_joins(tmp_path: Path, boot: BootGuest) -> None:
    site = Site(tmp_path)
    site.write("one", "two")
    with ServiceProcess(["serve", str(site.config)], tmp_path) as service:
        one = boot(doorbells=site.doorbells("one"), name="one", memory_mib=384)
        two = boot(doorbells=site.doorbells("two"), name="two", memory_mib=384)
        bring_up(one, "10.1.0.1")
        bring_up(two, "10.1.0.2")
        exchange(one, "10.1.0.1", two, 8)
        exchange(two, "10.1.0.2", one, 8)
        before = {guest.run("cat /proc/sys/kernel/random/boot_id") for guest in (one, two)}
        devices = one.run("ls /sys/bus/virtio/devices")
        site.write("one", "two", "three")
        service.reload()
        wait_for(site.socket_of("three").exists, "the third guest's socket")
        three = boot(doorbells=site.doorbells("three"), name="three", memory_mib=384)
        bring_up(three, "10.1.0.3")
        exchange(three, "10.1.0.3", one, 4)
        exchange(two, "10.1.0.2", three, 4)
        assert {guest.run("cat /proc/sys/kernel/random/boot_id") for guest in (one, two)} == before
        assert one.run("ls /sys/bus/virtio/devices") == devices
