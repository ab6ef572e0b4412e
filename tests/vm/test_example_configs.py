# SPDX-License-Identifier: MIT
"""Every file in qemu_configs is used as its first lines say."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ivshmem_virtio.service.config import Config, load_config
from ivshmem_virtio.vm.accelerator import Choice
from ivshmem_virtio.vm.guest import CONSOLE, Guest
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.launch import doorbell
from ivshmem_virtio.vm.qemu import Boot, qemu_arguments, readconfig_arguments
from ivshmem_virtio.vm.service import ServiceProcess
from ivshmem_virtio.vm.virtio_devices import drivers, wait_for_devices
from tests.vm.conftest import assert_clean

pytestmark = pytest.mark.newest_kernel

EXAMPLES = Path(__file__).parents[2] / "qemu_configs"


class Example:
    """The folder of examples, copied; one of them, with a service name of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
        self.path = folder / f"{name}.toml"
        unique = f'name = "{name}-{uuid.uuid4().hex[:8]}"'
        text, replaced = re.subn(rf'^name = "{name}"', unique, self.path.read_text(), count=1, flags=re.MULTILINE)
        assert replaced == 1
        self.path.write_text(text)

    def image(self, name: str, megabytes: int) -> None:
        """An empty disk."""
        with (self.folder / name).open("wb") as image:
            image.truncate(megabytes << 20)

    @property
    def config(self) -> Config:
        return load_config(self.path)


@pytest.fixture
def example(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Example:
    name: str = request.param
    return Example(tmp_path_factory.mktemp("x"), name)


@contextmanager
def started(
    example: Example, config_name: str, kernel: Kernel, initrd: Path, accelerator: Choice, devices: int
) -> Iterator[Guest]:
    """A guest made from ``<config_name>.cfg``, as QEMU reads it, with ``devices`` virtio devices."""
    arguments = readconfig_arguments(
        example.folder / f"{config_name}.cfg",
        accelerator=accelerator.accelerator,
        boot=Boot(kernel.image, initrd, CONSOLE),
    )
    with Guest(arguments, example.folder, config_name, working_folder=example.folder) as guest:
        guest.wait_ready()
        wait_for_devices(guest, devices)
        yield guest
        guest.power_off()
    assert_clean(guest)


@pytest.mark.parametrize("example", ["single"], indirect=True)
def test_single(example: Example, kernel: Kernel, initrd: Path, accelerator: Choice) -> None:
    example.image("disk.img", 256)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(example.folder / "passt.sock"))
    listener.listen(1)
    frames: list[bytes] = []
    reader = threading.Thread(target=_first_frame, args=(listener, frames))
    reader.start()
    with listener, ServiceProcess(["serve", str(example.path)], example.folder) as service:
        with started(example, "single", kernel, initrd, accelerator, 4) as guest:
            assert drivers(guest) == ["virtio_blk", "virtio_console", "virtio_net", "virtio_rng"]
            assert guest.run("cat /sys/block/vda/size") == str((256 << 20) // 512)
            guest.run(
                "ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && (arping -c 1 -I eth0 10.0.2.2 || true)"
            )
            address = bytes.fromhex(guest.run("cat /sys/class/net/eth0/address").replace(":", ""))
            reader.join(60)
            assert len(frames) == 1
            assert frames[0][6:12] == address
            assert guest.run("head -c 64 /dev/hwrng | wc -c") == "64"
        service.check_alive()


def _first_frame(listener: socket.socket, frames: list[bytes]) -> None:
    """Play passt: take a connection, and the first frame on it."""
    listener.settimeout(120)
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        frames.append(stream.read(int.from_bytes(stream.read(4), "big")))


@pytest.mark.parametrize("example", ["many"], indirect=True)
def test_many(example: Example, kernel: Kernel, initrd: Path, accelerator: Choice) -> None:
    for number in range(1, 5):
        example.image(f"disk{number}.img", 64)
    with ServiceProcess(["serve", str(example.path)], example.folder) as service:
        with started(example, "many", kernel, initrd, accelerator, 8) as guest:
            expected = ["virtio_blk"] * 4 + ["virtio_console"] + ["virtio_net"] * 2 + ["virtio_rng"]
            assert drivers(guest) == expected
            serials = "cat /sys/block/vd*/serial"
            assert "third" in guest.run(serials)
            assert guest.run("cat /sys/block/vd?/ro").split().count("1") == 1
            assert len(guest.run("ls -d /sys/block/vda/mq/* /sys/block/vdb/mq/*").split()) >= 2
            ports = guest.run("cat /sys/class/virtio-ports/*/name").split()
            assert {"org.example.log", "org.example.agent"} <= set(ports)
            assert "9000" in guest.run("cat /sys/class/net/eth*/mtu").split()
            # All queues work, whether they have a vector of their own or share one.
            # Which name the read-only one has got is a matter of who registered first.
            writable = "$(grep -l 0 /sys/block/vd?/ro | cut -d/ -f4)"
            write = "dd if=/dev/urandom of=/dev/$d bs=1M count=4 oflag=direct 2>&1"
            guest.run(f"for d in {writable}; do {write} || exit 1; done")
            guest.run("for d in vda vdb vdc vdd; do dd if=/dev/$d of=/dev/null bs=1M count=4 iflag=direct 2>&1; done")
        service.check_alive()


@pytest.mark.parametrize("example", ["switch"], indirect=True)
def test_switch(example: Example, kernel: Kernel, initrd: Path, accelerator: Choice) -> None:
    with (
        ServiceProcess(["serve", str(example.path)], example.folder) as service,
        started(example, "switch-left", kernel, initrd, accelerator, 2) as left,
        started(example, "switch-right", kernel, initrd, accelerator, 2) as right,
    ):
        for number, guest in enumerate((left, right), 1):
            assert guest.run("cat /sys/class/net/eth0/address") == f"52:54:00:00:00:0{number}"
            guest.run(f"ip link set eth0 up && ip addr add 10.1.0.{number}/24 dev eth0")
        assert "0% packet loss" in left.run("ping -c 5 -i 0.2 -s 1400 10.1.0.2")
        left.run("head -c 4000000 /dev/urandom > /tmp/file; httpd -p 8000 -h /tmp")
        there = left.run("sha256sum < /tmp/file")
        assert right.run("wget -q -O - http://10.1.0.1:8000/file | sha256sum", timeout=300) == there
        service.check_alive()


@pytest.mark.parametrize("example", ["foreign"], indirect=True)
def test_foreign(example: Example, kernel: Kernel, initrd: Path, accelerator: Choice) -> None:
    example.image("foreign.img", 64)
    folder = example.folder
    region = ["-M", f"foreign-{uuid.uuid4().hex[:8]}", "-l", "32M", "-n", "8"]
    server = ServiceProcess(["server", "-S", str(folder / "foreign.sock"), *region], folder, "server")
    attach = ["attach", str(example.path), "--socket", str(folder / "foreign.sock")]
    with server, ServiceProcess(attach, folder, "attach") as attached:
        with started(example, "foreign", kernel, initrd, accelerator, 2) as guest:
            assert drivers(guest) == ["virtio_blk", "virtio_rng"]
            guest.run("dd if=/dev/urandom of=/dev/vda bs=1M count=8 oflag=direct 2>&1")
            guest.run("dd if=/dev/vda of=/tmp/x bs=1M count=8 2>&1")
            digest = guest.run("sha256sum < /tmp/x").split()[0]
        attached.check_alive()
    read = subprocess.run(
        f"head -c 8388608 {folder / 'foreign.img'} | sha256sum", shell=True, capture_output=True, text=True, check=True
    )
    assert read.stdout.split()[0] == digest


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_the_readconfig_files_say_what_qemu_args_says(name: str, tmp_path: Path) -> None:
    """A .cfg beside a .toml names the socket and the vectors of its guest."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    (tmp_path / "x.toml").write_text(text)
    for guest in load_config(tmp_path / "x.toml", images=False).guests:
        device = doorbell(guest)
        own = EXAMPLES / f"{name}-{guest.name}.cfg"
        config = (own if own.exists() else EXAMPLES / f"{name}.cfg").read_text()
        if name != "foreign":
            assert f'path = "{device.socket.relative_to(tmp_path)}"' in config
        assert f'vectors = "{device.vectors}"' in config
        generated = " ".join(qemu_arguments(doorbells=[device], accelerator="tcg"))
        for line in ("pref64-reserve", "hotplug", "chassis"):
            value = re.search(rf'{line} = "(\w+)"', config)
            assert value is not None
            assert f"{line}={value.group(1)}" in generated
