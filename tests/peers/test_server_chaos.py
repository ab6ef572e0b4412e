# SPDX-License-Identifier: MIT
"""Clients that die at any point of their handshake, all at once: the survivor's view stays right, nothing leaks."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ivshmem_virtio.peer.client import IvshmemClient

from .raw_client import RawClient, eventually
from .served_region import ServedRegion, ServerProcess

VECTORS = 8
ROUNDS = 150


def settled(client: IvshmemClient, server: ServedRegion) -> bool:
    """Whether the client knows exactly the peers there are, with all their vectors."""
    client.poll()
    there = server.call(lambda: server.server.peers)
    return client.peers == [peer for peer in there if peer != client.peer_id] and all(
        len(client.doorbells(peer)) == VECTORS for peer in client.peers
    )


def test_clients_die_anywhere(served: ServedRegion) -> None:
    choose = random.Random(20)
    path = served.open_socket(VECTORS)
    with IvshmemClient.attach(path, vectors=VECTORS) as survivor:
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        alive: list[RawClient] = []
        for _ in range(ROUNDS):
            client = RawClient(path)
            for _ in range(choose.randrange(0, 3 + VECTORS)):
                client.message()
            alive.append(client)
            while len(alive) > choose.randrange(1, 6):
                alive.pop(choose.randrange(len(alive))).close()
            survivor.poll()
        assert eventually(lambda: settled(survivor, served))
        for client in alive:
            client.close()
        assert eventually(lambda: settled(survivor, served) and survivor.peers == [])
        gc.collect()
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert [event for event in served.events if event[0] == "join"] != []


def test_processes_are_killed(server_process: Callable[..., ServerProcess], folder: Path, shm_name: str) -> None:
    server = server_process("-S", f"{folder}/s.sock", "-M", shm_name, "-n", str(VECTORS), "-l", "64K")
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    code = (
        "import sys, time; from pathlib import Path; from ivshmem_virtio.peer.client import IvshmemClient\n"
        f"c = IvshmemClient.attach(Path(sys.argv[1]), vectors={VECTORS}); print('in', flush=True); time.sleep(60)"
    )
    with IvshmemClient.attach(folder / "s.sock", vectors=VECTORS) as survivor:
        before = len(list(descriptors.iterdir()))
        others = [
            subprocess.Popen([sys.executable, "-c", code, f"{folder}/s.sock"], stdout=subprocess.PIPE) for _ in range(3)
        ]
        try:
            for other in others:
                assert other.stdout is not None
                assert other.stdout.readline() == b"in\n"
            assert eventually(lambda: len(peers_now(survivor)) == 3)
        finally:
            for other in others:
                other.send_signal(signal.SIGKILL)
                other.wait()
                assert other.stdout is not None
                other.stdout.close()
        assert eventually(lambda: peers_now(survivor) == [])
        assert eventually(lambda: len(list(descriptors.iterdir())) <= before)
    status, text = server.end()
    assert status == 0
    assert "Traceback" not in text


def peers_now(client: IvshmemClient) -> list[int]:
    client.poll()
    return client.peers
