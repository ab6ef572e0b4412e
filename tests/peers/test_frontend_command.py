# SPDX-License-Identifier: MIT
"""``ivshmem-virtio frontend`` against a running service, and in place of a guest's kernel module."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.cli.main import run
from ivshmem_virtio.devices.rng import Rng
from ivshmem_virtio.link.directory_writer import DirectoryWriter
from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.pci import PciFunction
from ivshmem_virtio.transport.driver.attach import PciPeer, choose_link
from ivshmem_virtio.transport.driver.errors import LinkTaken
from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.transport.driver.transport import DriverTransport
from ivshmem_virtio.vm.service import ServiceProcess
from tests.peers.function_folder import Function
from tests.peers.plain_region import LINK, PlainRegion
from tests.peers.served_link import layout_of, served

SECTORS = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("frontend")
    (made / "disk.img").write_bytes(os.urandom(SECTORS * 512))
    (made / "small.img").write_bytes(bytes(512))
    (made / "service.toml").write_text(
        f"""
        [service]
        name = "frontend-command-{os.getpid()}"
        runtime_dir = "run"
        [[guest]]
        name = "guest"
        region = "16M"
        vectors = 16
        [[guest.device]]
        type = "blk"
        name = "disk"
        path = "disk.img"
        window = "4M"
        queues = 2
        [[guest.device]]
        type = "blk"
        name = "small"
        path = "small.img"
        window = "2M"
        read_only = true
        [[guest.device]]
        type = "console"
        name = "port"
        via = {{ socket = "port.sock" }}
        [[guest.device]]
        type = "rng"
        """
    )
    return made


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Path]:
    """The configuration of a service that runs."""
    with ServiceProcess(["serve", str(folder / "service.toml")], folder):
        yield folder / "service.toml"


Command = Callable[..., Any]


@pytest.fixture
def frontend(service: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs the command; its JSON, or with ``fails`` its one line on standard error."""

    def command(*words: str, options: tuple[str, ...] = (), fails: bool = False) -> Any:
        where = () if "--socket" in options else ("--config", str(service))
        status = run(["frontend", *where, *options, *words, *(() if fails else ("--json",))])
        out, err = capfd.readouterr()
        if fails:
            assert status == 1
            assert out == ""
            assert err.count("\n") == 1
            assert err.startswith("ivshmem-virtio: ")
            return err
        assert status == 0, err
        return json.loads(out)

    return command


def test_info(frontend: Command) -> None:
    links = {link["name"]: link for link in frontend("info")["links"]}
    assert [link["device"] for link in links.values()] == ["blk", "blk", "console", "rng"]
    assert [queue["index"] for queue in links["disk"]["queues"]] == [0, 1]
    assert "MQ" in links["disk"]["features"]
    assert "RO" in links["small"]["features"]
    assert {"VERSION_1", "ACCESS_PLATFORM", "EVENT_IDX"} <= set(links["rng"]["features"])
    assert bytes.fromhex(links["disk"]["configuration"])[:8] == SECTORS.to_bytes(8, "little")
    assert frontend("info", options=("--link", "rng"))["links"][0]["name"] == "rng"


@pytest.mark.parametrize("options", [(), ("--revision-1",), ("--own-rings",), ("--revision-1", "--own-rings")])
def test_disk(frontend: Command, folder: Path, options: tuple[str, ...]) -> None:
    options = (*options, "--link", "disk")
    content = (folder / "disk.img").read_bytes()
    whole = frontend("blk", "read", "0", str(SECTORS), options=options)
    assert whole["sha256"] == hashlib.sha256(content).hexdigest()
    one = frontend("blk", "read", "5", options=options)
    assert one["hex"] == content[5 * 512 :][:512].hex()
    source = folder / "source"
    source.write_bytes(os.urandom(700))
    assert frontend("blk", "write", "9", str(source), options=options)["count"] == 2
    assert (folder / "disk.img").read_bytes()[9 * 512 : 11 * 512] == source.read_bytes() + bytes(324)
    target = folder / "target"
    run(["frontend", "--config", str(folder / "service.toml"), *options, "blk", "read", "9", "2", "-o", str(target)])
    assert target.read_bytes() == source.read_bytes() + bytes(324)
    assert frontend("blk", "id", options=options) == {"serial": "disk", "sectors": SECTORS, "read_only": False}


def test_random_bytes(frontend: Command) -> None:
    drawn = frontend("rng", "5000")
    assert len(bytes.fromhex(drawn["hex"])) == drawn["count"] == 5000
    assert len(frontend("rng", "3", options=("--link", "3"))["hex"]) == 6, "links go by number, too"


def test_console(frontend: Command, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(30)
        end.connect(str(folder / "port.sock"))
        answer = threading.Thread(target=lambda: end.sendall(end.makefile("rb").readline().upper()))
        answer.start()
        found = frontend("console", "echo", "hello")
        answer.join()
    assert found == {"sent": "hello", "received": "HELLO"}


def test_text_for_people(service: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["frontend", "--config", str(service), "--link", "rng", "info"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith("rng: rng, window of ")
    assert "queue 0: 64 descriptors" in shown


def test_what_it_complains_about(frontend: Command, folder: Path) -> None:
    (folder / "source").write_bytes(b"x")
    write = ("blk", "write", "0", str(folder / "source"))
    assert "several links fit, choose one with --link: disk, small" in frontend("blk", "read", "0", fails=True)
    assert "no link 'tape'" in frontend("blk", "read", "0", options=("--link", "tape"), fails=True)
    assert "carries a rng device, not blk" in frontend("blk", "read", "0", options=("--link", "rng"), fails=True)
    assert "a disk that has 64" in frontend("blk", "read", "64", options=("--link", "disk"), fails=True)
    assert "status 1 (IOERR)" in frontend(*write, options=("--link", "small"), fails=True)
    nowhere = ("--socket", str(folder / "nowhere.sock"))
    assert "no ivshmem-server" in frontend("info", options=nowhere, fails=True)


def test_which_region(capfd: pytest.CaptureFixture[str], service: Path) -> None:
    for options in ([], ["--socket", "x", "--config", str(service)], ["--socket", "x", "--pci", "any"]):
        assert run(["frontend", *options, "info"]) == 1
        assert "one of --socket PATH, --config CONFIG.toml, --pci ADDRESS" in capfd.readouterr().err


def test_no_function_here(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["frontend", "--pci", "0000:ff:1f.7", "info"]) == 1
    assert "1af4:1110" in capfd.readouterr().err


def test_the_guest_is_running(frontend: Command, folder: Path) -> None:
    with IvshmemClient.attach(folder / "run" / "guest.sock"):
        assert "refuses" in frontend("info", fails=True)


def test_a_link_somebody_uses(tmp_path: Path) -> None:
    """Through the function of a guest, whose kernel module would have this link."""
    region = PlainRegion(1 << 20, backend_vectors=3, frontend_vectors=2)
    function = Function(tmp_path / "0000:00:04.0", region)
    size = os.fstat(region.memory).st_size
    DirectoryWriter(region.memory, size).set_up([layout_of(region, 4)])
    try:
        with served(region, Rng("rng", window=region.window)), PciFunction(function.folder) as opened:
            peer = PciPeer(opened, 5)
            layout = choose_link(peer.links(), None, 4)
            assert layout.offset == LINK
            link = peer.attach(layout)
            driver = DriverTransport(link, peer_id=peer.peer_id)
            driver.bring_up()
            assert len(RngDriver(driver).read(100)) == 100
            with pytest.raises(LinkTaken, match="its front-end state is 1"):
                peer.attach(layout)
            peer.attach(layout, force=True).close()
            driver.close()
            link.close()
    finally:
        function.close()
        region.close()
