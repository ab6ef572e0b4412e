# SPDX-License-Identifier: MIT
"""QEMU's own example programs: its server with our client and service, its client with our server."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.peer.client import IvshmemClient
from ivshmem_virtio.peer.errors import ServerClosed
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.driver.rng import RngDriver
from ivshmem_virtio.vm.service import ServiceProcess
from tests.service.running_service import driving

from .qemu_server.build import Programs, built
from .qemu_server.processes import QemuClient, QemuServer
from .raw_client import RawClient, eventually, readable
from .served_region import ServedRegion, ServerProcess

VECTORS = 3
SERVICE_VECTORS = 16
CONFIG = """
[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "16M"
vectors = 16
  [[guest.device]]
  type = "blk"
  name = "disk"
  path = "web.img"
  window = "2M"
  [[guest.device]]
  type = "rng"
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return built(tmp_path_factory.mktemp("qemu-programs"))


@pytest.fixture
def theirs(programs: Programs, folder: Path, shm_name: str) -> Iterator[QemuServer]:
    """QEMU's server."""
    with QemuServer(programs.server, folder / "theirs.sock", shm_name, vectors=VECTORS) as server:
        yield server


# Its server, our client.


def test_our_client_sees_joins_and_leaves(theirs: QemuServer) -> None:
    joined: list[int] = []
    left: list[int] = []
    with IvshmemClient.attach(theirs.socket, on_join=joined.append, on_leave=left.append) as first:
        assert (first.peer_id, first.memory_size, len(first.own_vectors)) == (0, 1 << 20, VECTORS)
        with IvshmemClient.attach(theirs.socket, vectors=VECTORS) as second:
            assert (second.peer_id, second.peers) == (1, [0])
            first.wait_for_peer(1, 60, vectors=VECTORS)
            assert os.path.sameopenfile(first.memory, second.memory)
        assert eventually(lambda: polled(first).peers == [])
        assert left == [1]
        with IvshmemClient.attach(theirs.socket, vectors=VECTORS) as third:
            assert third.peer_id == 2, "its ids are not used again at once either"
            first.wait_for_peer(2, 60, vectors=VECTORS)
        assert eventually(lambda: polled(first).peers == [])
    assert left == [1, 2]
    assert joined == [1] * VECTORS + [2] * VECTORS


def polled(client: IvshmemClient) -> IvshmemClient:
    client.poll()
    return client


def test_our_clients_ring_each_other_on_every_vector(theirs: QemuServer) -> None:
    with IvshmemClient.attach(theirs.socket) as first, IvshmemClient.attach(theirs.socket) as second:
        first.wait_for_peer(second.peer_id, 60, vectors=VECTORS)
        for ringing, rung in ((first, second), (second, first)):
            for vector in range(VECTORS):
                ringing.ringer(rung.peer_id).ring(vector)
                assert [readable(eventfd, 0) for eventfd in rung.own_vectors] == [n == vector for n in range(VECTORS)]
                assert os.eventfd_read(rung.own_vectors[vector]) == 1


@pytest.mark.parametrize("kill", [False, True], ids=["ended", "killed"])
def test_memory_and_doorbells_outlive_it(theirs: QemuServer, kill: bool) -> None:
    with IvshmemClient.attach(theirs.socket) as first, IvshmemClient.attach(theirs.socket) as second:
        first.wait_for_peer(1, 60, vectors=VECTORS)
        if kill:
            theirs.kill()
        else:
            assert theirs.end() == 0
        with pytest.raises(ServerClosed):
            eventually(lambda: polled(first) is None)
        assert not first.connected
        assert first.peers == [1]
        first.ringer(1).ring(2)
        assert readable(second.own_vectors[2], 0)
        os.pwrite(first.memory, b"still here", 4096)
        assert os.pread(second.memory, 10, 4096) == b"still here"


def test_our_client_survives_messages_it_drops(
    programs: Programs, folder: Path, shm_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It drops what a full socket has no room for: a leave may come of a peer that never did."""
    vectors, crowd = 32, 20
    with (
        QemuServer(programs.server, folder / "theirs.sock", shm_name, vectors=vectors) as theirs,
        IvshmemClient.attach(theirs.socket, vectors=vectors) as slow,
        IvshmemClient.attach(theirs.socket, vectors=vectors) as quick,
    ):
        for _ in range(crowd):
            with IvshmemClient.attach(theirs.socket, vectors=vectors) as other:
                last = other.peer_id
                quick.wait_for_peer(last, 60, vectors=vectors)
                if last == quick.peer_id + crowd:
                    assert last not in polled(slow).peers, "the socket was full before everybody had joined"
            assert eventually(lambda: polled(quick).peers == [slow.peer_id])
        assert eventually(lambda: polled(slow).connected and f"peer {last} left, which was never" in caplog.text)
        with IvshmemClient.attach(theirs.socket, vectors=vectors) as late:
            slow.wait_for_peer(late.peer_id, 60, vectors=vectors)


# Both servers, the same story.


def story(path: Path, seed: int) -> list[list[tuple[int, bool]]]:
    """Clients join and leave at random: what each of them was told, in the order of joining."""
    choose = random.Random(seed)
    present: list[int] = []
    clients: list[RawClient] = []
    told: list[list[tuple[int, bool]]] = []

    def hear(number: int, count: int) -> None:
        told[number] += clients[number].values(count)

    try:
        for _ in range(25):
            # The first stays: without a witness nobody knows when the server has noticed that somebody left.
            if len(present) > 1 and choose.random() < (0.25 if len(present) < 5 else 0.75):
                gone = present.pop(choose.randrange(1, len(present)))
                clients[gone].close()
                for number in present:
                    hear(number, 1)
                continue
            clients.append(RawClient(path))
            told.append([])
            hear(-1, 3 + VECTORS * (len(present) + 1))
            for number in present:
                hear(number, VECTORS)
            present.append(len(clients) - 1)
        assert all(clients[number].quiet(0.05) for number in present), "nothing beyond what is compared"
    finally:
        for client in clients:
            client.close()
    return told


@pytest.mark.parametrize("seed", range(3))
def test_our_server_says_the_same(
    theirs: QemuServer, server_process: Callable[..., ServerProcess], folder: Path, seed: int
) -> None:
    ours = folder / "ours.sock"
    server_process("-S", str(ours), "-m", str(folder), "-l", "1M", "-n", str(VECTORS))
    said = story(theirs.socket, seed)
    assert len(said) > 8
    assert story(ours, seed) == said


# Its server, our service.


@pytest.fixture
def region(programs: Programs, folder: Path, shm_name: str) -> Iterator[QemuServer]:
    """QEMU's server with the region of CONFIG, which is in the same folder."""
    (folder / "service.toml").write_text(CONFIG.format(name=shm_name.replace(".", "-")))
    (folder / "web.img").write_bytes(os.urandom(1 << 20))
    path = folder / "theirs.sock"
    with QemuServer(programs.server, path, shm_name, size="16M", vectors=SERVICE_VECTORS) as server:
        yield server


def attached(server: QemuServer, folder: Path) -> ServiceProcess:
    return ServiceProcess(["attach", str(folder / "service.toml"), "--socket", str(server.socket)], folder, "attach")


def test_attached_service_serves_its_devices(region: QemuServer, folder: Path) -> None:
    image = folder / "web.img"
    with attached(region, folder) as service:
        with driving(region.socket, "disk") as transport, driving(region.socket, "rng") as other:
            disk = BlkDriver(transport)
            assert disk.read(0, disk.capacity) == image.read_bytes()
            disk.write(9, b"\xa5" * 1024)
            disk.flush()
            rng = RngDriver(other)
            assert rng.read(64) != rng.read(64)
        assert image.read_bytes()[9 * 512 : 11 * 512] == b"\xa5" * 1024
        # Whoever comes next has another peer id, and is let in.
        with driving(region.socket, "disk") as transport:
            assert BlkDriver(transport).read(9, 2) == b"\xa5" * 1024
        assert service.stop() == 0


def test_attached_service_is_replaced(region: QemuServer, folder: Path) -> None:
    """The next back-end has another peer id too: the directory names it."""
    for _ in range(2):
        with attached(region, folder), driving(region.socket, "disk") as transport:
            assert BlkDriver(transport).read(0, 1) == (folder / "web.img").read_bytes()[:512]


def test_attached_service_goes_on_without_the_server(region: QemuServer, folder: Path) -> None:
    with attached(region, folder) as service, driving(region.socket, "disk") as transport:
        disk = BlkDriver(transport)
        assert region.end() == 0
        assert eventually(lambda: "the server closed the connection" in service.log.read_text())
        disk.write(0, b"\x3c" * 512)
        assert disk.read(0, 1) == b"\x3c" * 512
        service.check_alive()


# Its client, our server.


def test_their_client_with_our_server(
    programs: Programs, server_process: Callable[..., ServerProcess], folder: Path, shm_name: str
) -> None:
    path = folder / "ours.sock"
    server_process("-S", str(path), "-M", shm_name, "-l", "1M", "-n", str(VECTORS))
    with IvshmemClient.attach(path, vectors=VECTORS) as mine, QemuClient(programs.client, path) as first:
        mine.wait_for_peer(1, 60, vectors=VECTORS)
        assert eventually(lambda: first.dump() == {0: VECTORS, 1: VECTORS})
        with QemuClient(programs.client, path) as second:
            for client in (first, second):
                assert eventually(lambda c=client: c.dump() == dict.fromkeys((0, 1, 2), VECTORS))
            first.command("int 2 1")
            assert eventually(lambda: second.heard("peer_id=2 vector=1"))
            second.command("int 0 2")
            assert readable(mine.own_vectors[2])
            assert not readable(mine.own_vectors[1], 0)
            mine.ringer(1).ring(0)
            assert eventually(lambda: first.heard("peer_id=1 vector=0"))
            mine.wait_for_peer(2, 60, vectors=VECTORS)
        assert eventually(lambda: first.dump() == {0: VECTORS, 1: VECTORS})
        assert eventually(lambda: polled(mine).peers == [1])


def test_their_client_waits_until_a_guests_socket_is_free(programs: Programs, served: ServedRegion) -> None:
    path = served.guest("web", 5, VECTORS)
    with QemuClient(programs.client, path) as first:
        assert eventually(lambda: served.present(5))
        assert eventually(lambda: first.dump() == {5: VECTORS})
        with QemuClient(programs.client, path) as second:
            first.kill()
            assert eventually(lambda: served.events == [("join", 5), ("leave", 5), ("join", 5)])
            assert eventually(lambda: second.dump() == {5: VECTORS})
