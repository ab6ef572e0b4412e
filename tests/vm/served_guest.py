# SPDX-License-Identifier: MIT
"""A guest with one device of each kind, and the question whether all of them work."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ivshmem_virtio.vm.errors import CommandFailed
from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.qemu import Doorbell
from ivshmem_virtio.vm.service import ServiceProcess

VECTORS = 16
BOTH_UP_SECONDS = 5.0
"""How soon after both sides are up every device must work."""

GUEST = """
[[guest]]
name = "{name}"
region = "32M"
vectors = 16
  [[guest.device]]
  type = "blk"
  name = "disk"
  path = "{name}.img"
  window = "4M"
  [[guest.device]]
  type = "console"
  name = "serial"
  via = {{ socket = "{name}.console" }}
  [[guest.device]]
  type = "net"
  name = "lan"
  window = "4M"
  via = {{ switch = "lan" }}
  [[guest.device]]
  type = "rng"
"""
# The same behind a foreign server, which has no switch to offer.
ALONE = GUEST.replace("via = {{ switch", "via = {{ stream").replace('"lan" }}', '"no-peer.sock" }}')

READY = " && ".join(
    f"{{ [ {test} {path} ] || {{ echo no {path}; false; }}; }}"
    for test, path in (("-b", "/dev/vda"), ("-c", "/dev/hvc0"), ("-c", "/dev/hwrng"), ("-d", "/sys/class/net/eth0"))
)
"""Every device is there; else says which is not."""


class Site:
    """A folder with the configuration, images and sockets of some guests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "service.toml"
        self._name = f"vm-{secrets.token_hex(4)}"
        self._images: dict[str, Path] = {}

    def write(self, *guests: str, template: str = GUEST) -> None:
        """Write the configuration; images are made once and keep their content."""
        for guest in guests:
            if guest not in self._images:
                self._images[guest] = self.folder / f"{guest}.img"
                self._images[guest].write_bytes(os.urandom(2 << 20))
        head = f'[service]\nname = "{self._name}"\nruntime_dir = "{self.folder}/run"\n'
        self.config.write_text(head + "".join(template.format(name=guest) for guest in guests))

    def image(self, guest: str) -> Path:
        return self._images[guest]

    def replace_image(self, guest: str) -> None:
        """Put another file in its place, with the same content: for a back-end that is another disk."""
        image = self._images[guest]
        other = image.with_suffix(".other")
        other.write_bytes(image.read_bytes())
        other.replace(image)

    def socket_of(self, guest: str) -> Path:
        return self.folder / "run" / f"{guest}.sock"

    def doorbells(self, guest: str) -> list[Doorbell]:
        return [Doorbell(self.socket_of(guest), VECTORS)]

    def remove_region(self, guest: str) -> None:
        """Where the service was killed for good, nobody else does. Who has it open keeps the memory."""
        Path(f"/dev/shm/{self._name}.{guest}").unlink()

    def console(self, guest: str) -> socket.socket:
        """The host's end of the guest's console."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(30)
        stream.connect(os.fspath(self.folder / f"{guest}.console"))
        return stream


def assert_works(guest: Guest, site: Site, name: str, *, within: float = BOTH_UP_SECONDS) -> None:
    """Every device of the guest is there, and does what it is for, in a try that begins ``within`` seconds.

    Earlier tries may meet devices of before, on their way out.
    """
    deadline = time.monotonic() + within
    while True:
        began = time.monotonic()
        try:
            try_devices(guest, site, name)
        except (CommandFailed, AssertionError, OSError) as error:
            if began > deadline:
                raise AssertionError(f"{error}\n{guest.last_kernel_lines()}") from error
            time.sleep(0.2)
        else:
            return


def try_devices(guest: Guest, site: Site, name: str) -> None:
    """Use each device once, or fail."""
    guest.run(READY)
    check_disk(guest, site.image(name))
    assert guest.run("head -c 32 /dev/hwrng | wc -c") == "32"
    assert guest.run("cat /sys/class/net/eth0/address")
    check_console(guest, site, name)


def wait_in_guest(guest: Guest, condition: str, seconds: float) -> None:
    """Wait until shell ``condition`` holds in the guest."""
    tries = max(1, int(seconds * 10))
    loop = f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt {tries} ] || exit 1; sleep 0.1; done"
    try:
        guest.run(loop, timeout=seconds + 60)
    except CommandFailed:
        raise AssertionError(
            f"{guest.name}: {condition!r} did not come true in {seconds} s\n{guest.last_kernel_lines()}"
        ) from None


def check_disk(guest: Guest, image: Path) -> None:
    """The guest reads what the image holds, and the image gets what the guest writes."""
    guest.run("echo 3 > /proc/sys/vm/drop_caches")
    assert guest.run("sha256sum < /dev/vda").split()[0] == hashlib.sha256(image.read_bytes()).hexdigest()
    word = secrets.token_hex(16)
    guest.run(f"echo {word} | dd of=/dev/vda bs=512 seek=100 conv=notrunc,fsync 2>/dev/null")
    assert word.encode() in image.read_bytes()[100 * 512 : 101 * 512]


def check_console(guest: Guest, site: Site, name: str) -> None:
    """A line in each direction over the console."""
    with site.console(name) as host:
        word = secrets.token_hex(8)
        guest.run(f"stty -F /dev/hvc0 raw -echo; echo {word} > /dev/hvc0")
        wait_for(lambda: receive_until(host, word.encode()), "the guest's line on the host's end of the console")
        answer = secrets.token_hex(8)
        host.sendall(answer.encode() + b"\n")
        assert guest.run("timeout 10 head -n 1 /dev/hvc0") == answer


def receive_until(stream: socket.socket, wanted: bytes) -> bool:
    """Read until ``wanted`` was seen; what came before is left-over output of an earlier boot."""
    seen = b""
    while wanted not in seen:
        data = stream.recv(4096)
        if not data:
            return False
        seen += data
    return True


def backends(service: ServiceProcess) -> list[int]:
    """Process ids of the service's back-ends."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"service.backend" in command_line(pid)]


def command_line(pid: str) -> bytes:
    """Of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def link_states(guest: Guest) -> dict[str, dict[str, str]]:
    """What the module says of each link, by the link's name."""
    text = guest.run("for f in /sys/kernel/debug/virtio_ivshmem/*/state; do cat $f; echo; done")
    found = [dict(line.split(" ", 1) for line in part.splitlines()) for part in text.strip().split("\n\n")]
    return {link["name"]: link for link in found}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Fail with ``what`` unless ``condition`` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.05)
