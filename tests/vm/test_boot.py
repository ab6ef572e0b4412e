# SPDX-License-Identifier: MIT
"""Stock kernels boot, take commands, reboot and end; before any device of ours is involved."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivshmem_virtio.vm.errors import CommandFailed, GuestRebooted, GuestTimeout, QemuFailed
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.qemu import Doorbell, doorbell_arguments
from tests.vm.conftest import BootGuest

pytestmark = pytest.mark.newest_kernel


def test_a_guest_takes_commands(boot: BootGuest, kernel: Kernel, plain_initrd: Path) -> None:
    guest = boot(initrd=plain_initrd)
    assert guest.run("uname -r") == kernel.release
    assert guest.run("printf 'one\\ntwo'; echo three >&2") == "one\ntwothree"
    assert guest.run_bytes("printf '\\000\\377\\r\\n'") == b"\0\xff\r\n"
    assert guest.run("cat") == ""
    with pytest.raises(CommandFailed, match="status 7: said") as caught:
        guest.run("echo said; exit 7")
    assert caught.value.status == 7
    data = bytes(range(256)) * 40
    guest.put("/tmp/it's", data)
    assert guest.get("/tmp/it's") == data
    with pytest.raises(GuestTimeout, match="so far: begun") as late:
        guest.run("echo begun; sleep 1000", timeout=1)
    assert "kernel's last lines" in late.value.__notes__[0]
    assert guest.run("echo fine") == "fine"
    # Processes that nobody waits for end all the time meanwhile.
    guest.run("(until [ -e /tmp/enough ]; do (sleep 0.01 &); sleep 0.05; done) >/dev/null 2>&1 &")
    for _ in range(5):
        assert guest.run(f": {'long ' * 500}; echo fine") == "fine"
    guest.run("touch /tmp/enough")
    guest.power_off()


def test_the_image_has_what_tests_use(boot: BootGuest, kernel: Kernel, plain_initrd: Path) -> None:
    guest = boot(initrd=plain_initrd)
    for driver in ("virtio_blk", "virtio_console", "virtio_net", "virtio_rng"):
        assert guest.run(f"ls -d /sys/bus/virtio/drivers/{driver}")
    assert "ext4" in guest.run("cat /proc/filesystems")
    assert "Host bridge" in guest.run("lspci")
    assert guest.run("rngtest -c 40 < /dev/urandom 2>&1 || true").count("FIPS 140-2 successes") == 1
    assert guest.run("modprobe uio_pci_generic && ls /sys/bus/pci/drivers").count("uio_pci_generic") == 1
    assert guest.run("ls /sys/kernel/debug | wc -l") != "0"
    # Not a storage or virtio device in sight: what comes later comes through the shared memory.
    devices = guest.run("lspci -n").splitlines()
    assert [line.split()[1] for line in devices] == ["0600:", "0601:"]
    assert guest.run("ls /sys/bus/virtio/devices") == ""
    assert guest.run("ls /sys/block") == ""


def test_reboots_are_noticed(boot: BootGuest, plain_initrd: Path) -> None:
    guest = boot(initrd=plain_initrd, clean_log=False)
    first = guest.shell.boot_id
    assert first == guest.run("cat /proc/sys/kernel/random/boot_id")
    guest.run("touch /tmp/here")
    guest.reset()
    second = guest.shell.boot_id
    assert second != first
    assert guest.run("ls /tmp") == ""
    with pytest.raises(GuestRebooted):
        guest.run("echo c > /proc/sysrq-trigger", timeout=120)
    guest.wait_ready()
    assert guest.shell.boot_id not in (first, second)
    assert any("Kernel panic" in line for line in trouble(guest.kernel_log.read_text("utf-8", "replace")))


def test_ends_are_noticed(boot: BootGuest, plain_initrd: Path) -> None:
    guest = boot(initrd=plain_initrd)
    pid = guest.pid
    guest.kill()
    with pytest.raises(QemuFailed, match="status -9"):
        guest.check_alive()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(QemuFailed, match="no-such-device"):
        boot(initrd=plain_initrd, extra=["-device", "no-such-device"], clean_log=False)


def test_modules_are_left_out_on_request(boot: BootGuest, plain_initrd: Path) -> None:
    guest = boot(initrd=plain_initrd, append="guest.skip=virtio_net,virtio_blk")
    loaded = guest.run("ls /sys/bus/virtio/drivers").split()
    assert "virtio_rng" in loaded
    assert not {"virtio_net", "virtio_blk"} & set(loaded)


def test_shared_memory_lies_above_4_gib(boot: BootGuest, plain_initrd: Path) -> None:
    """The empty port that doorbell_arguments adds moves every 64-bit prefetchable BAR, whatever its size."""
    port = doorbell_arguments([Doorbell(Path("unused"), 1)])[:2]
    memory = "-object memory-backend-memfd,id=m{0},size={1},share=on -device ivshmem-plain,memdev=m{0}"
    devices = " ".join(memory.format(number, size) for number, size in enumerate(("1M", "64M", "1G")))
    guest = boot(initrd=plain_initrd, extra=[*port, *devices.split()])
    resources = "$(grep -l 0x1110 /sys/bus/pci/devices/*/device | sed 's/device$/resource/')"
    starts = guest.run("awk 'FNR == 3 { print $1 }' " + resources)
    addresses = [int(line, 16) for line in starts.splitlines()]
    assert len(addresses) == 3
    assert all(address >= 1 << 32 for address in addresses), starts


def test_debian_packages_run_in_the_guest(boot: BootGuest, kernel: Kernel) -> None:
    guest = boot(initrd=build_initrd(kernel, packages=["python3-minimal"]))
    assert guest.run("""python3 -c 'import sys; print("Python", sys.version_info[0])'""") == "Python 3"
