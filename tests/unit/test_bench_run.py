# SPDX-License-Identifier: MIT
"""How the benchmarks compare: in turns, medians, and what happens when the machine changes meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from ivshmem_virtio.bench.errors import UnknownSuite
from ivshmem_virtio.bench.processors import Processors
from ivshmem_virtio.bench.registry import SUITES, find
from ivshmem_virtio.bench.report import Machine, Report, Row
from ivshmem_virtio.bench.run import Case, Figure, Run
from ivshmem_virtio.bench.table import short, table

COLUMNS = {"suite", "case", "unit", "ours", "peer", "peer_name", "ratio", "spread", "runs"}


@dataclass(frozen=True)
class ScriptedProcessors(Processors):
    """Says of the distance between the two processors what a test wants."""

    trips: tuple[float, ...] = (100.0,)

    def round_trip(self) -> float:
        trip, *rest = self.trips
        object.__setattr__(self, "trips", (*rest, trip))
        return trip


def run_of(tmp_path: Path, pairs: int, trips: Iterable[float] = (100.0,)) -> Run:
    chosen = Processors.choose()
    return Run(ScriptedProcessors(chosen.load, chosen.device, tuple(trips)), True, tmp_path, pairs, 0.01)


def row(tmp_path: Path, ours: list[float], peers: list[float], case: Case, **more: tuple[float, ...]) -> Row:
    first, second = iter(ours), iter(peers)
    bench = run_of(tmp_path, more.get("pairs", (len(ours),))[0].__trunc__(), more.get("trips", (100.0,)))
    return bench.compare(case, lambda _: Figure(next(first), {"kicks": 1.0}), lambda _: Figure(next(second)))


RATE = Case("ring", "QD 1", "request/s", "a peer")
LATENCY = Case("ring", "QD 1", "us", "a peer", "less")


def test_medians_ratio_and_spread(tmp_path: Path) -> None:
    found = row(tmp_path, [10, 30, 20], [10, 10, 40], RATE)
    assert (found.ours, found.peer, found.ratio) == (20, 10, 2)
    assert found.spread.ours == (10, 30)
    assert found.spread.peer == (10, 40)
    assert found.spread.ratio == (0.5, 3)
    assert len(found.runs) == 3
    assert found.notes == {"ours kicks": 1.0}
    assert not found.flipped


def test_ratio_of_a_latency_is_above_one_where_ours_is_shorter(tmp_path: Path) -> None:
    assert row(tmp_path, [2], [6], LATENCY).ratio == 3
    assert row(tmp_path, [0], [6], LATENCY).ratio == 0


def test_pairs_in_turns(tmp_path: Path) -> None:
    order: list[str] = []

    def measure(name: str) -> Figure:
        order.append(name)
        return Figure(1.0)

    run_of(tmp_path, 3).compare(RATE, lambda _: measure("A"), lambda _: measure("B"))
    assert "".join(order) == "ABABAB"


def test_a_pair_during_which_the_machine_changed_is_repeated(tmp_path: Path) -> None:
    trips = (100.0, 100.0, 500.0, *[100.0] * 6)
    found = row(tmp_path, [1, 5, 7], [1, 1, 1], RATE, trips=trips, pairs=(2,))
    assert [pair.ours for pair in found.runs] == [5, 7]
    assert not found.flipped


def test_what_stays_in_doubt_is_kept_and_marked(tmp_path: Path) -> None:
    found = row(tmp_path, [1, 2, 3, 4], [1] * 4, RATE, trips=(100.0, 100.0, 500.0), pairs=(2,))
    assert found.flipped == 2
    assert [pair.ours for pair in found.runs] == [1, 2]


def report_of(*rows: Row) -> Report:
    machine = Machine(processor="x", processors=2, memory_bytes=1, load_on=1, device_on=0, hypervisor=True)
    return Report(
        started="2026-01-01T00:00:00+00:00",
        command="ivshmem-virtio bench ring",
        quick=True,
        machine=machine,
        versions={"kernel": "6.1"},
        commands=(),
        rows=rows,
    )


def test_json_has_the_columns_and_reads_back(tmp_path: Path) -> None:
    report = report_of(row(tmp_path, [10, 30, 20], [10, 10, 40], RATE))
    text = report.model_dump_json()
    plain = json.loads(text)
    assert set(plain["rows"][0]) >= COLUMNS
    assert Report.model_validate_json(text) == report
    plain["rows"][0]["surprise"] = 1
    with pytest.raises(ValidationError):
        Report.model_validate(plain)


def test_table_marks_what_is_in_doubt(tmp_path: Path) -> None:
    sure = row(tmp_path, [3.0], [2.0], RATE)
    doubtful = row(tmp_path, [3.0, 3.0], [2.0, 2.0], LATENCY, trips=(100.0, 100.0, 500.0), pairs=(1,))
    console = Console(width=200, record=True, file=StringIO())
    console.print(table([sure, doubtful]))
    text = console.export_text()
    assert "1.50 " in text
    assert "0.67*" in text


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1.23M"), (45678, "45.7k"), (7.891, "7.89"), (2.5e9, "2.5G"), (999, "999")]
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


def test_every_suite_can_be_found() -> None:
    for name in SUITES:
        assert callable(find(name))
    with pytest.raises(UnknownSuite, match="copy"):
        find("nonsense")


def test_plots_are_drawn_and_say_their_licence(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'ivshmem-virtio[bench]'")
    from ivshmem_virtio.bench.plots import write_plots

    report = report_of(row(tmp_path, [10, 30, 20], [10, 10, 40], RATE), row(tmp_path, [2], [6], LATENCY))
    (drawn,) = write_plots(report, tmp_path / "plots")
    text = drawn.read_text()
    assert drawn.name == "ring.svg"
    assert "SPDX-License-Identifier: MIT" in text.splitlines()[1]
    assert "</svg>" in text
