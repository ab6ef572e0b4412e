# SPDX-License-Identifier: MIT
"""A guest whose every device is in use, over and over, so that whatever happens to it happens mid-work."""

from __future__ import annotations

from pathlib import Path

from ivshmem_virtio.vm.guest import Guest
from tests.vm.served_guest import wait_in_guest

REGION = 256 << 10
"""Bytes at the start of the disk that the writers write, with one byte value for each life of the guest."""

# A loop goes on while its device is away, and goes round quickly while it is there.
LOAD = """
mkdir -p /run/load; rm -f /run/load/*
head -c {region} /dev/zero | tr '\\000' '\\{octal:03o}' > /run/load/pattern
busy() {{ name=$1; shift; (while [ ! -e /run/load/stop ]; do
    sh -c "$*" && echo >> /run/load/$name.rounds || sleep 0.1; done; echo > /run/load/$name.ended) >/dev/null 2>&1 & }}
ip link set eth0 up; ip addr add 10.20.30.40/24 dev eth0
busy write0 dd if=/run/load/pattern of=/dev/vda bs=64k oflag=direct conv=notrunc
busy write1 dd if=/run/load/pattern of=/dev/vda bs=4k count=8 seek=8 skip=8 oflag=direct conv=notrunc
busy read dd if=/dev/vda of=/dev/null bs=64k iflag=direct
busy random 'head -c 4096 /dev/hwrng | grep -q .'
busy console 'head -c 4096 /run/load/pattern | tr "\\\\000-\\\\377" a > /dev/hvc0'
busy frames 'arping -q -c 1 -w 1 -I eth0 10.20.30.41; [ -d /sys/class/net/eth0 ]'
"""
LOOPS = ("write0", "write1", "read", "random", "console", "frames")


def start_load(guest: Guest, life: int) -> None:
    """Have every device in use; returns when each loop has gone round. The disk is written with byte ``life``."""
    guest.run(LOAD.format(region=REGION, octal=life))
    for loop in LOOPS:
        wait_in_guest(guest, f"[ -s /run/load/{loop}.rounds ]", 30)


def stop_load(guest: Guest) -> None:
    """Let every loop come to its end: nobody may wait for ever."""
    guest.run("touch /run/load/stop")
    for loop in LOOPS:
        wait_in_guest(guest, f"[ -e /run/load/{loop}.ended ]", 60)


def write_once(guest: Guest, life: int) -> None:
    """The whole region holds byte ``life``, and the guest has been told so."""
    guest.run(
        f"head -c {REGION} /dev/zero | tr '\\000' '\\{life:03o}' > /run/once; "
        "dd if=/run/once of=/dev/vda bs=64k oflag=direct conv=notrunc,fsync 2>/dev/null"
    )


def assert_only(image: Path, life: int) -> None:
    """Nothing of an earlier life is in the region."""
    found = image.read_bytes()[:REGION]
    stale = sorted({value for value in set(found) if value != life})
    assert not stale, f"bytes of lives {stale} in the place of {life}: {[found.count(value) for value in stale]}"
