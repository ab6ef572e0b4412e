# SPDX-License-Identifier: MIT
"""The module is unloaded and loaded again and again, under traffic, and everything it took comes back."""

from __future__ import annotations

from ivshmem_virtio.vm.guest import Guest
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
  rmmod virtio_ivshmem || {{ echo "round $i: cannot unload"; exit 1; }}
  wait
  [ -z "$(ls /sys/bus/virtio/devices)" ] || {{ echo "round $i: devices left"; exit 1; }}
  modprobe virtio_ivshmem || exit 1
done
"""


def accounts(guest: Guest) -> dict[str, int]:
    """The module's own accounts: ``key value`` lines."""
    lines = guest.run("cat /sys/kernel/debug/virtio_ivshmem/accounting").splitlines()
    return {key: int(value) for key, value in (line.split() for line in lines)}


def test_fifty_reloads_under_traffic(site: Site, boot: BootGuest) -> None:
    with ServiceProcess(["serve", str(site.config)], site.folder):
        guest = boot(doorbells=site.doorbells("web"), cpus=2)
        assert_works(guest, site, "web")
        idle = accounts(guest)
        interrupts = guest.run("grep -c ivshmem /proc/interrupts")
        guest.run(ROUND.format(rounds=ROUNDS), timeout=280)
        assert_works(guest, site, "web")
        assert guest.run("grep -c ivshmem /proc/interrupts") == interrupts
        after = accounts(guest)
        assert after["links"] == idle["links"] == 4
        assert after["devices"] == idle["devices"] == 4
        for taken, given in (("vectors_requested", "vectors_freed"), ("coherent_allocated", "coherent_freed")):
            assert after[taken] - after[given] == idle[taken] - idle[given], (idle, after)
    log = guest.kernel_log.read_text("utf-8", "replace")
    # At each unload the module counts what was taken and not given back; it says "with leaks" if that is not nothing.
    assert "with leaks" not in log
    assert log.count("virtio_ivshmem: unloaded:") == ROUNDS
