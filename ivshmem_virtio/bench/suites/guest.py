# SPDX-License-Identifier: MIT
"""Suite ``guest``: fio and iperf3 in one booted guest, over our transport and over QEMU's own virtio-pci devices.

QEMU's are measured twice: bouncing as ours do (``iommu_platform=on`` in a guest booted with ``swiotlb=force``) and
plain.
"""

from __future__ import annotations

from functools import partial

from ivshmem_virtio.bench.errors import BenchError
from ivshmem_virtio.bench.guest_loads import DISK_LOADS, NETWORK_LOADS, DiskLoad, NetworkLoad, iperf_servers
from ivshmem_virtio.bench.guest_machine import BOUNCING, OURS, PLAIN, Machine, bounces, bring_up, machine
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.vm.parting import interrupted_by_signals

PEERS = {
    BOUNCING: "virtio-pci of QEMU, swiotlb",
    PLAIN: "virtio-pci of QEMU, plain",
}
# Less than this is mostly the start of the program, which an emulated processor takes a while for.
LEAST_SECONDS = 1.0
# Of the quick run, whose suites have minutes for all of them.
QUICK_PAIRS = 2


class WrongPath(BenchError):
    """Data does not go the way it is meant to be compared with: through the kernel's bounce buffers, or past them."""


def run(bench: Run) -> None:
    """Disk, then network. Raises TapsUnavailable after the disk where no interface can be made for the network."""
    seconds = max(LEAST_SECONDS, bench.seconds)
    peers = [BOUNCING] if bench.quick else [BOUNCING, PLAIN]
    pairs = QUICK_PAIRS if bench.quick else None
    # An interface of the host outlives whoever made it, unless he is let finish.
    with interrupted_by_signals(), bench.scratch() as folder, machine(folder) as site:
        bench.commands.append(site.command)
        check_path(site)
        for disk_load in DISK_LOADS:
            if disk_load.main or not bench.quick:
                for peer in peers:
                    ours, theirs = (partial(_on_disk, site, disk_load, seconds, place) for place in (OURS, peer))
                    bench.compare(Case("guest", disk_load.case, disk_load.unit, PEERS[peer]), ours, theirs, pairs=pairs)
        if site.without_taps is not None:
            raise site.without_taps
        bring_up(site.guest, site.taps)
        with iperf_servers(site.programs, site.taps) as ports:
            for load in NETWORK_LOADS:
                for peer in peers:
                    ours, theirs = (partial(_on_tap, site, load, seconds, ports[p], p) for p in (OURS, peer))
                    bench.compare(Case("guest", load.case, load.unit, PEERS[peer]), ours, theirs, pairs=pairs)


def check_path(site: Machine) -> None:
    """Requests of ours leave the kernel's bounce buffers alone, and those of the peer go through them; or WrongPath."""
    for place, wanted in ((OURS, False), (BOUNCING, True), (PLAIN, False)):
        work = partial(DISK_LOADS[0].run, site.guest, site.disks[place], LEAST_SECONDS)
        if bounces(site.guest, work) is not wanted:
            raise WrongPath(f"{PEERS.get(place, place)}: its disk {'does not use' if wanted else 'uses'} swiotlb")


def _on_disk(site: Machine, load: DiskLoad, least: float, place: str, seconds: float) -> Figure:
    return Figure(load.run(site.guest, site.disks[place], max(least, seconds)))


def _on_tap(site: Machine, load: NetworkLoad, least: float, port: int, place: str, seconds: float) -> Figure:
    return Figure(load.run(site.guest, site.taps[place], port, max(least, seconds)))
