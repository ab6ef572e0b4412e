# SPDX-License-Identifier: MIT
"""One run of the benchmarks: takes ours and the peer's figure in turns, and watches the machine meanwhile.

A suite is a function that is given a ``Run`` and calls ``compare`` for each of its cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.report import Pair, Row, Spread

FLIP = 2.0
"""A round trip that changes by more than this is another state of the machine."""


class Figure(NamedTuple):
    """One measurement."""

    value: float
    notes: Mapping[str, float] = {}


@dataclass(frozen=True)
class Case:
    """What is compared with what. ``better``: whether more or less of the unit is."""

    suite: str
    name: str
    unit: str
    peer_name: str
    better: Literal["more", "less"] = "more"

    def ratio(self, ours: float, peer: float) -> float:
        """Above 1 where ours is better; 0 where one of the two has no figure."""
        if ours <= 0 or peer <= 0:
            return 0.0
        return ours / peer if self.better == "more" else peer / ours


Measure = Callable[[float], Figure]
"""Measures for so many seconds."""


@dataclass
class Run:
    """How thoroughly to measure, and everything found so far."""

    processors: Processors
    quick: bool
    folder: Path
    pairs: int
    seconds: float
    """Of one measurement."""
    image_bytes: int = 256 << 20
    """Size of an image that requests go to."""
    on_row: Callable[[Row], None] = lambda row: None
    rows: list[Row] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @classmethod
    def quickly(cls, processors: Processors, folder: Path, on_row: Callable[[Row], None]) -> Run:
        """The main rows only, in minutes."""
        return cls(processors, True, folder, 3, 0.25, on_row=on_row)

    @classmethod
    def fully(cls, processors: Processors, folder: Path, on_row: Callable[[Row], None]) -> Run:
        """Every row."""
        return cls(processors, False, folder, 5, 1.0, on_row=on_row)

    def compare(self, case: Case, ours: Measure, peer: Measure, *, pairs: int | None = None) -> Row:
        """Measure both in turns, in so many pairs where the run's own number is not meant.

        A pair during which the machine changed is repeated, as often as there are pairs to be had; what is still in
        doubt then is kept, and marked.
        """
        wanted = self.pairs if pairs is None else pairs
        kept: list[Pair] = []
        doubtful: list[Pair] = []
        notes: dict[str, float] = {}
        with self.processors.loading():
            for _ in range(2 * wanted):
                pair, notes = self._pair(ours, peer)
                (doubtful if pair.flipped else kept).append(pair)
                if len(kept) == wanted:
                    break
        row = _row(case, [*kept, *doubtful][:wanted], notes)
        self.rows.append(row)
        self.on_row(row)
        return row

    def _pair(self, ours: Measure, peer: Measure) -> tuple[Pair, dict[str, float]]:
        trips = [self.processors.round_trip()]
        first = ours(self.seconds)
        trips.append(self.processors.round_trip())
        second = peer(self.seconds)
        trips.append(self.processors.round_trip())
        notes = {f"ours {name}": value for name, value in first.notes.items()}
        notes |= {f"peer {name}": value for name, value in second.notes.items()}
        flipped = max(trips) > FLIP * min(trips)
        return Pair(ours=first.value, peer=second.value, round_trip_ns=tuple(trips), flipped=flipped), notes

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of its own."""
        with TemporaryDirectory(prefix="ivshmem-virtio-bench-", dir=self.folder) as name:
            yield Path(name)


def _row(case: Case, pairs: list[Pair], notes: dict[str, float]) -> Row:
    ours, peers = [pair.ours for pair in pairs], [pair.peer for pair in pairs]
    ratios = [case.ratio(pair.ours, pair.peer) for pair in pairs]
    return Row(
        suite=case.suite,
        case=case.name,
        unit=case.unit,
        better=case.better,
        ours=median(ours),
        peer=median(peers),
        peer_name=case.peer_name,
        ratio=case.ratio(median(ours), median(peers)),
        spread=Spread(ours=(min(ours), max(ours)), peer=(min(peers), max(peers)), ratio=(min(ratios), max(ratios))),
        runs=tuple(pairs),
        notes=notes,
    )
