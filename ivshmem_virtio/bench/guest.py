# SPDX-License-Identifier: MIT
"""Suite ``guest``: fio and iperf3 in one booted guest, over our transport and over QEMU's own virtio-pci devices."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ivshmem_virtio.bench.guest_loads import DISK_LOADS, NETWORK_LOADS, DiskLoad, NetworkLoad, iperf_servers
from ivshmem_virtio.bench.guest_machine import BOUNCING, OURS, PLACES, PLAIN, Machine, machine

PEER_NAMES = {
    BOUNCING: "QEMU virtio-pci, iommu_platform=on, guest swiotlb=force",
    PLAIN: "QEMU virtio-pci, plain",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One case beside one peer. ``ratio`` above 1: ours is better. ``spread``: half of our range over our median."""

    suite: str
    case: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    spread: float
    runs: int


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    unit: str
    measure: Callable[[str], float]


def run(
    *,
    runs: int = 5,
    seconds: float = 2.0,
    series: str = "6.12",
    only: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Boot the guest once and measure ``runs`` rounds, in each of which every case goes over every device in turn.

    ``seconds`` is the length of one load; ``only`` chooses the cases whose name contains one of these words. Rows of
    the network are left out, and ``say`` is told why, where no tap interface can be made.
    """
    with ExitStack() as cleanup:
        wants_network = any(_chosen(load.case, only) for load in NETWORK_LOADS)
        site = cleanup.enter_context(machine(series=series, network=wants_network))
        cases = [case for case in _cases(site, cleanup, seconds) if _chosen(case.name, only)]
        if wants_network and not site.taps:
            say(f"network left out: {site.without_taps}")
        samples = {(case.name, place): list[float]() for case in cases for place in PLACES}
        for number in range(runs):
            for case in cases:
                # Another device is the first in each round, so that none always comes after a pause.
                for place in (*PLACES[number % 3 :], *PLACES[: number % 3]):
                    samples[case.name, place].append(case.measure(place))
                say(f"{number + 1}/{runs} {case.name}: " + _latest(samples, case))
        return [
            row(case.name, case.unit, samples[case.name, OURS], samples[case.name, peer], PEER_NAMES[peer])
            for case in cases
            for peer in (BOUNCING, PLAIN)
        ]


def _chosen(name: str, only: Sequence[str]) -> bool:
    return not only or any(word in name for word in only)


def _cases(site: Machine, cleanup: ExitStack, seconds: float) -> list[_Case]:
    cases = [_Case(load.case, load.unit, partial(_on_disk, site, load, seconds)) for load in DISK_LOADS]
    if site.taps:
        ports = cleanup.enter_context(iperf_servers(site.programs, site.taps))
        cases += [_Case(load.case, load.unit, partial(_on_tap, site, load, seconds, ports)) for load in NETWORK_LOADS]
    return cases


def _on_disk(site: Machine, load: DiskLoad, seconds: float, place: str) -> float:
    return load.run(site.guest, site.disks[place], seconds)


def _on_tap(site: Machine, load: NetworkLoad, seconds: float, ports: Mapping[str, int], place: str) -> float:
    return load.run(site.guest, site.taps[place], ports[place], seconds)


def _latest(samples: dict[tuple[str, str], list[float]], case: _Case) -> str:
    return ", ".join(f"{place} {samples[case.name, place][-1]:.0f}" for place in PLACES) + f" {case.unit}"


def row(case: str, unit: str, ours: Sequence[float], peer: Sequence[float], peer_name: str) -> Row:
    """The medians side by side; larger figures are better."""
    median, other = statistics.median(ours), statistics.median(peer)
    spread = (max(ours) - min(ours)) / 2 / median if median else 0.0
    return Row("guest", case, unit, median, other, peer_name, median / other if other else 0.0, spread, len(ours))


def rows_as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(each) for each in rows]
