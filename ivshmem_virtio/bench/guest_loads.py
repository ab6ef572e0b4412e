# SPDX-License-Identifier: MIT
"""The loads that are put on a guest's devices, and the figure each gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.bench.errors import BenchError
from ivshmem_virtio.bench.guest_taps import Tap
from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.parting import ends_with_us

_FIO = "fio --output-format=json --ioengine=io_uring --direct=1 --gtod_reduce=1 --norandommap --time_based"


class LoadFailed(BenchError):
    """A load did not run, or said nothing that can be understood."""


@dataclass(frozen=True, slots=True)
class DiskLoad:
    """One fio job. More of ``unit`` is better; ``main`` ones are part of the quick run."""

    case: str
    operation: str
    block: str
    depth: int
    main: bool = True

    @property
    def unit(self) -> str:
        return "MiB/s" if self.block.endswith("M") else "IOPS"

    def command(self, node: str, seconds: float) -> str:
        job = f"--name=load --filename={node} --rw={self.operation} --bs={self.block} --iodepth={self.depth}"
        return f"{_FIO} {job} --runtime={seconds:g}"

    def figure(self, output: str) -> float:
        """From fio's JSON; warnings may stand before it. Raises LoadFailed."""
        try:
            job = json.loads(output[output.index("{") :])["jobs"][0]
            side = job["write" if "write" in self.operation else "read"]
            if job["error"] or not side["total_ios"]:
                raise LoadFailed(f"{self.case}: fio ended with error {job['error']} after {side['total_ios']} requests")
            return float(side["bw_bytes"] / 2**20 if self.unit == "MiB/s" else side["iops"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise LoadFailed(f"{self.case}: fio said {output[-200:]!r}, which has no figure in it") from error

    def run(self, guest: Guest, node: str, seconds: float) -> float:
        return self.figure(guest.run(self.command(node, seconds), timeout=seconds + 60))


DISK_LOADS = (
    DiskLoad("4 KiB random read, QD 1", "randread", "4k", 1),
    DiskLoad("4 KiB random read, QD 32", "randread", "4k", 32),
    DiskLoad("4 KiB random write, QD 1", "randwrite", "4k", 1, main=False),
    DiskLoad("4 KiB random write, QD 32", "randwrite", "4k", 32),
    DiskLoad("1 MiB sequential read", "read", "1M", 4),
    DiskLoad("1 MiB sequential write", "write", "1M", 4, main=False),
)


@dataclass(frozen=True, slots=True)
class NetworkLoad:
    """One TCP stream of iperf3. More of ``unit`` is better."""

    case: str
    reverse: bool

    unit = "Mbit/s"

    def command(self, tap: Tap, port: int, seconds: float) -> str:
        back = " -R" if self.reverse else ""
        return f"timeout {seconds + 20:g} iperf3 -J -c {tap.host_address} -p {port} -t {seconds:g}{back}"

    def figure(self, output: str) -> float:
        """What the receiving end got, from iperf3's JSON. Raises LoadFailed."""
        try:
            said = json.loads(output[output.index("{") :])
            return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6
        except (ValueError, KeyError, TypeError) as error:
            raise LoadFailed(f"{self.case}: iperf3 said {output[-200:]!r}, which has no figure in it") from error

    def run(self, guest: Guest, tap: Tap, port: int, seconds: float) -> float:
        return self.figure(guest.run(f"{self.command(tap, port, seconds)} || true", timeout=seconds + 60))


NETWORK_LOADS = (
    NetworkLoad("TCP guest to host", reverse=False),
    NetworkLoad("TCP host to guest", reverse=True),
)


@contextmanager
def iperf_servers(programs: Path, interfaces: Mapping[str, Tap]) -> Iterator[dict[str, int]]:
    """A server on the host's address of each tap; yields their ports. ``programs`` is the tree with iperf3 in it."""
    running: list[subprocess.Popen[bytes]] = []
    ports: dict[str, int] = {}
    library = programs / "usr/lib/x86_64-linux-gnu"
    try:
        for place, tap in interfaces.items():
            with socket.create_server((tap.host_address, 0)) as free:
                ports[place] = free.getsockname()[1]
            command = [str(programs / "usr/bin/iperf3"), "-s", "-B", tap.host_address, "-p", str(ports[place])]
            environment = {**os.environ, "LD_LIBRARY_PATH": str(library)}
            running.append(
                subprocess.Popen(
                    [*ends_with_us("KILL"), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            )
        for place, tap in interfaces.items():
            _wait_until_listening(tap.host_address, ports[place])
        yield ports
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _wait_until_listening(address: str, port: int, seconds: float = 20.0) -> None:
    """Asks the kernel's table, since a connection would be taken for a client."""
    wanted = f"{socket.inet_aton(address)[::-1].hex().upper()}:{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + seconds
    while wanted not in Path("/proc/net/tcp").read_text():
        if time.monotonic() > deadline:
            raise LoadFailed(f"iperf3 does not listen on {address}:{port}")
        time.sleep(0.02)
