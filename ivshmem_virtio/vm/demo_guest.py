# SPDX-License-Identifier: MIT
"""What the demonstration looks at in the guest, one function for each kind of device."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ivshmem_virtio.vm.check import Report, Show
from ivshmem_virtio.vm.demo_host import check_image, console_lines, digest_in_image, echo_lines
from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.passt import Passt

LINES = 1000
ENTROPY_BLOCKS = 200
# FIPS 140-2 rejects about one block of true randomness in 1250; more than this is one bad run in 60,000.
_ENTROPY_FALSE_ALARMS = 3
GUEST_FILES = ("written/small", "written/large")
_IDS = {"1": "net", "2": "blk", "3": "console", "4": "rng"}


def check_devices(guest: Guest, report: Report, show: Show) -> None:
    """The guest has one ivshmem device, and behind it four virtio devices with their stock drivers."""
    pci = guest.run("lspci -nn")
    show("lspci -nn", pci)
    classes = sorted(re.findall(r"\[([0-9a-f]{4})\]:", pci))
    report.add("PCI devices: bridges and one memory", "0500 0600 0601 0604", " ".join(classes))
    report.add("ivshmem devices (1af4:1110)", 1, pci.count("[1af4:1110]"))
    virtio = guest.run(
        "cd /sys/bus/virtio/devices; for d in *; do"
        " echo $d $(cat $d/device) $(basename $(readlink $d/driver)) $(cat $d/status); done"
    )
    show("/sys/bus/virtio/devices: name, device, driver, status", virtio)
    found = [line.split() for line in virtio.splitlines()]
    bound = sorted(
        f"{_IDS.get(str(int(fields[1], 16)), fields[1])}={fields[2]}" for fields in found if len(fields) == 4
    )
    expected = "blk=virtio_blk console=virtio_console net=virtio_net rng=virtio_rng"
    report.add("virtio devices and drivers", expected, " ".join(bound))


def check_interrupts(guest: Guest, report: Report, show: Show) -> None:
    """After all that work the module's vectors have counted interrupts."""
    table = guest.run("cat /proc/interrupts")
    lines = [line for line in table.splitlines() if "MSI" in line and "ivshmem" in line]
    show("/proc/interrupts (ivshmem)", "\n".join(lines))
    used = sum(1 for line in lines if int(line.split()[1]) > 0)
    report.add("MSI-X vectors that fired", "at least 4", used, used >= 4)


def check_files(guest: Guest, report: Report, digests: dict[str, str]) -> dict[str, str]:
    """Files made on the host read the same in the guest; returns SHA-256 of files written there."""
    guest.run("mount -t ext4 /dev/vda /mnt")
    listing = guest.run("cd /mnt && find . -type f | xargs sha256sum", timeout=300)
    seen = {line[66:].removeprefix("./"): line[:64] for line in listing.splitlines()}
    same = sum(seen.get(name) == digest for name, digest in digests.items())
    report.add("disk: files whose SHA-256 is the host's", f"{len(digests)} of {len(digests)}", f"{same} of {len(seen)}")
    small, large = (f"/mnt/{name}" for name in GUEST_FILES)
    guest.run(f"mkdir /mnt/written && dmesg > {small} && head -c 9000001 /dev/urandom > {large}", timeout=300)
    listing = guest.run(f"sha256sum {small} {large}", timeout=300)
    guest.run("umount /mnt", timeout=300)
    return {line[66:].removeprefix("/mnt/"): line[:64] for line in listing.splitlines()}


def check_written(image: Path, report: Report, written: dict[str, str], scratch: Path) -> None:
    """After the guest has gone: its files are in the image, and the file system is sound."""
    same = sum(digest_in_image(image, name, scratch) == written.get(name, "not written") for name in GUEST_FILES)
    count = len(GUEST_FILES)
    report.add("disk: the guest's files, read on the host", f"{count} of {count}", f"{same} of {count}")
    report.add("disk: e2fsck -fn after shutdown", "clean", check_image(image))


def check_console(guest: Guest, report: Report, path: Path, device: str, name: str) -> None:
    """A thousand lines go in and come back from ``device`` in the guest, byte for byte."""
    # A port that nobody has open on the host reads as its end: hence the loop.
    echo = "while :; do cat <&3 >&3; usleep 100000; done >/dev/null 2>&1 &"
    guest.run(f"exec 3<>{device}; stty raw -echo <&3 2>/dev/null; {echo}")
    lines = console_lines(LINES, len(name))
    echoed = echo_lines(path, lines, 300)
    same = sum(sent == got for sent, got in zip(lines, echoed, strict=True))
    report.add(f"{name}: lines echoed intact", LINES, same)


def port_device(guest: Guest, name: str) -> str:
    """Device file of the console port called ``name``."""
    entry = guest.run(f"grep -lx {name} /sys/class/virtio-ports/*/name")
    return f"/dev/{Path(entry).parent.name}"


def set_up_network(guest: Guest, passt: Passt) -> None:
    """Give the guest's interface the address that passt expects."""
    interface = guest.run("ls -d /sys/bus/virtio/devices/*/net/*").rsplit("/", 1)[1]
    guest.run(f"ip link set {interface} up && ip addr add {passt.address}/{passt.prefix} dev {interface}")
    guest.run(f"ip route add default via {passt.gateway}")


def check_network(guest: Guest, report: Report, passt: Passt, port: int, data: bytes) -> None:
    """A file comes by HTTP through passt from the host's loopback."""
    set_up_network(guest, passt)
    seen = guest.run(f"wget -q -O - http://{passt.gateway}:{port}/download | sha256sum", timeout=600).split()[0]
    megabytes = len(data) >> 20
    report.add(f"network: SHA-256 of {megabytes} MiB by HTTP", hashlib.sha256(data).hexdigest()[:16], seen[:16])


def check_entropy(guest: Guest, report: Report) -> None:
    """What comes from the entropy device looks random."""
    report.add(
        "rng: source of /dev/hwrng", "virtio_rng", guest.run("cut -d. -f1 /sys/class/misc/hw_random/rng_current")
    )
    words = guest.run(f"rngtest -c {ENTROPY_BLOCKS} < /dev/hwrng 2>&1 || true", timeout=300)
    found = re.search(r"FIPS 140-2 successes: (\d+)", words)
    passed = int(found.group(1)) if found else 0
    least = ENTROPY_BLOCKS - _ENTROPY_FALSE_ALARMS
    report.add("rng: blocks that pass FIPS 140-2", f"at least {least} of {ENTROPY_BLOCKS}", passed, passed >= least)
