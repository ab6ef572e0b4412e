# SPDX-License-Identifier: MIT
"""The static front-end program in a stock guest without a module of ours: real PCI function, doorbells, devices."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.vm.errors import CommandFailed
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.qemu import Doorbell
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest

SOURCES = Path(__file__).parents[2] / "guest_driver" / "frontend"
VECTORS = 8
SECTORS = 2048


@pytest.fixture(scope="module")
def frontend_initrd(kernel: Kernel) -> Path:
    """The plain initramfs and the program."""
    subprocess.run(["make", "-s", "-C", str(SOURCES)], check=True, capture_output=True)
    return build_initrd(kernel, files={"bin/ivshmem-frontend": SOURCES / "ivshmem-frontend"})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(SECTORS * 512))
    return path


@pytest.fixture
def service(tmp_path: Path, image: Path) -> Iterator[ServiceProcess]:
    """A disk, a console on a socket and an entropy source for one guest."""
    file = tmp_path / "service.toml"
    file.write_text(
        f"""
        [service]
        name = "frontend-program-{os.getpid()}"
        runtime_dir = "{tmp_path}/run"
        [[guest]]
        name = "guest"
        region = "64M"
        vectors = {VECTORS}
        [[guest.device]]
        type = "blk"
        name = "disk"
        path = "{image}"
        [[guest.device]]
        type = "console"
        name = "port"
        via = {{ socket = "{tmp_path}/console.sock" }}
        [[guest.device]]
        type = "rng"
        """
    )
    with ServiceProcess(["serve", str(file)], tmp_path) as running:
        yield running


def test_a_guest_without_the_module(
    boot: BootGuest, frontend_initrd: Path, service: ServiceProcess, image: Path, tmp_path: Path
) -> None:
    guest = boot(initrd=frontend_initrd, doorbells=[Doorbell(tmp_path / "run" / "guest.sock", VECTORS)])
    content = image.read_bytes()
    links = guest.run("ivshmem-frontend list").splitlines()
    assert [line.split()[2:4] for line in links[1:]] == [["disk", "blk"], ["port", "console"], ["rng", "rng"]]
    assert all(line.endswith(" state 1") for line in links[1:])

    for sector in (0, 1, SECTORS - 1):
        shown = guest.run(f"ivshmem-frontend blk disk read {sector}").splitlines()
        assert shown[1] == f"sha256 {hashlib.sha256(content[sector * 512 :][:512]).hexdigest()}"
    guest.run("ivshmem-frontend blk disk write 17 'from the guest'")
    assert image.read_bytes()[17 * 512 :][:15] == b"from the guest\0"

    drawn = guest.run("ivshmem-frontend rng rng 64").split()[1]
    assert len(bytes.fromhex(drawn)) == 64

    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(60)
        end.connect(str(tmp_path / "console.sock"))
        answer = threading.Thread(target=lambda: end.sendall(end.makefile("rb").readline().upper()))
        answer.start()
        shown = guest.run("ivshmem-frontend -s 30 console port echo hello").splitlines()
        answer.join()
    assert shown == ["sent 6 bytes", "received HELLO"]

    with pytest.raises(CommandFailed, match=r"ivshmem-frontend: sector 2048 of a disk that has 2048"):
        guest.run(f"ivshmem-frontend blk disk read {SECTORS}")
    service.stop()
    with pytest.raises(CommandFailed, match="no back-end: its state is 0"):
        guest.run("ivshmem-frontend -s 1 blk disk read 0")
