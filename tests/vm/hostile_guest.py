# SPDX-License-Identifier: MIT
"""A guest whose back-end is hostile: its traffic, and the lines its kernel may log without being broken."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.served_guest import ALONE, VECTORS, Site

# Each user of a device tries again and again; what its device answers is not looked at. Disk and console have nodes of
# their own, since writing to /dev/vda while there is no disk would make a file of that name. The terminal is let go a
# second after it was hung up: closing one that just goes can end Linux' own hvc driver (docs/guests.md).
TRAFFIC = """
until [ -b /dev/vda ] && [ -c /dev/hvc0 ]; do sleep 0.1; done
mknod /run/disk b $(tr : ' ' < /sys/block/vda/dev)
mknod /run/terminal c $(tr : ' ' < /sys/class/tty/hvc0/dev)
again() { while [ ! -e /run/enough ]; do eval "$1"; sleep 0.1; done }
again 'dd if=/run/disk of=/dev/null bs=64k count=16 iflag=direct' &
again 'dd if=/dev/zero of=/run/disk bs=4k count=16 oflag=direct conv=notrunc' &
again 'head -c 64 /dev/hwrng' &
again 'ip link set eth0 up; ip addr add 10.9.9.1/24 dev eth0; arping -c 3 -w 1 -I eth0 10.9.9.2' &
again 'cat /sys/kernel/debug/virtio_ivshmem/*/state' &
again '{ while echo still here; do sleep 0.05; done; sleep 1; } > /run/terminal' &
"""

ENOUGH = "touch /run/enough; n=0; while pgrep -x dd && [ $n -lt 60 ]; do n=$((n + 1)); sleep 1; done"
"""Ends the traffic, as soon as nobody waits for a device."""

# Linux gives a disk that comes while somebody still has its predecessor open the next name. Here the predecessor's last
# user may be a `dd` that is just being told of an error.
DISK_AGAIN = """
[ -b /dev/vda ] || [ ! -b /dev/vdb ] || {
    link=$(basename "$(dirname "$(readlink -f /sys/block/vdb/device)")")
    echo "$link" > /sys/bus/auxiliary/drivers/virtio_ivshmem.link/unbind
    echo "$link" > /sys/bus/auxiliary/drivers/virtio_ivshmem.link/bind
}
"""

# What stock drivers say about a device that talks nonsense, and what I/O on it comes to. None of it is a fault of the
# kernel; whatever else `trouble` finds is.
EXPECTED = (
    re.compile(r"I/O error.* dev vda|Buffer I/O error on dev(ice)? vda"),
    re.compile(r"\bid \d+ (out of range|is not a head!)"),
)


@dataclass(frozen=True)
class Played:
    """What `evil-backend --json` says of one scenario."""

    scenario: str
    running: list[str]
    packed: list[str]
    done: int
    transactions: int
    answered: int


class HostileSite(Site):
    """A guest behind a server that outlives every back-end, good or bad."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("web", template=ALONE)
        self.socket = self.socket_of("web")
        self.socket.parent.mkdir()
        self.region = f"vm-{secrets.token_hex(4)}.evil"

    def server(self) -> ServiceProcess:
        """The server: it knows no virtio, and cannot be harmed."""
        backend = self.folder / "backend.sock"
        # New ids for back-ends: QEMU (7.2) uses freed memory when an id that has left joins again.
        sockets = [f"--guest=web={self.socket},id=1", f"--socket={backend}"]
        size = ["-l", "32M", "-n", str(VECTORS), "-M", self.region]
        return ServiceProcess(["server", *sockets, *size], self.folder, "server")

    def good_backend(self) -> ServiceProcess:
        """Serves what the hostile one has left behind."""
        arguments = ["attach", str(self.config), "--socket", str(self.folder / "backend.sock")]
        return ServiceProcess(arguments, self.folder, "attach")

    def play(self, names: Sequence[str], *, seed: int, seconds: float) -> list[Played]:
        """Run the hostile back-end to its end."""
        command = [sys.executable, "-m", "ivshmem_virtio", "evil-backend", str(self.config)]
        command += ["--socket", str(self.folder / "backend.sock"), "--json"]
        command += ["--seed", str(seed), "--seconds", str(seconds)]
        command += [f"--scenario={name}" for name in names]
        record = self.folder / "played.json"
        with record.open("wb") as output:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=60 + 20 * len(names)
            )
        assert done.returncode == 0, done.stderr
        fields = Played.__dataclass_fields__
        return [
            Played(**{key: value for key, value in json.loads(line).items() if key in fields})
            for line in record.read_text().splitlines()
        ]


def faults(guest: Guest) -> list[str]:
    """Lines of the guest's kernel log that tell of a fault, expected ones left out."""
    lines = trouble(guest.kernel_log.read_text("utf-8", "replace"))
    return [line for line in lines if not any(expected.search(line) for expected in EXPECTED)]
