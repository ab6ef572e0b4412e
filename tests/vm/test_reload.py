# SPDX-License-Identifier: MIT
"""The module is unloaded and loaded again and again, under traffic, and everything it took comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works

ROUNDS = 50

# Traffic ends by itself when its device goes: the readers are started anew in each round.
ROUND = """
i=0
while [ $i -lt {rounds} ]; do
  i=$((i + 1))
  n=0; until [ -b /dev/vda ] && [ -c /dev/hwrng ] && [ -d /sys/class/net/eth0 ]; do
    n=$((n + 1)); [ $n -lt 100 ] || {{ echo "round $i: no devices"; exit 1; }}; sleep 0.05; done
  ip link set eth0 up
  dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null &
  dd if=/dev/zero of=/dev/vda bs=4k count=256 conv=notrunc 2>/dev/null &
  head -c 65536 /dev/hwrng > /dev/null 2>&1 &
  sleep 0.05
  modprobe -r virtio_ivshmem || rmmod virtio_ivshmem || {{ echo "round $i: cannot unload"; exit 1; }}
  wait
  [ -z "$(ls /sys/bus/virtio/devices)" ] || {{ echo "round $i: devices left"; exit 1; }}
  modprobe virtio_ivshmem || exit 1
done
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("web")
    return made


def accounting(text: str) -> dict[str, int]:
    """The module's own accounts, as it prints them: ``key value`` lines."""
    return {key: int(value) for key, value in (line.split() for line in text.splitlines() if line)}


def test_fifty_reloads_under_traffic(site: Site, boot: BootGuest) -> None:
    with ServiceProcess(["serve", str(site.config)], site.folder):
        guest = boot(doorbells=site.doorbells("web"), cpus=2)
        assert_works(guest, site, "web")
        interrupts = guest.run("grep -c ivshmem /proc/interrupts")
        guest.run(ROUND.format(rounds=ROUNDS), timeout=280)
        assert_works(guest, site, "web")
        assert guest.run("grep -c ivshmem /proc/interrupts") == interrupts
        guest.run("dmesg > /dev/null")
        concluded = [line for line in guest.dmesg().splitlines() if "virtio_ivshmem" in line and "unloaded" in line]
        assert len(concluded) >= 1
