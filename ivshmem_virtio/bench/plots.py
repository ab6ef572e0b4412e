# SPDX-License-Identifier: MIT
"""One bar chart for each suite: how many times better than the peer each case is."""

from __future__ import annotations

from pathlib import Path

from ivshmem_virtio.bench.errors import PlotsUnavailable
from ivshmem_virtio.bench.report import Report, Row

BETTER, WORSE = "#2a7f62", "#b5523b"
LINE_INCHES = 0.32


def write_plots(report: Report, folder: Path) -> list[Path]:
    """An SVG for each suite of a report in ``folder``; raises PlotsUnavailable."""
    try:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot
    except ImportError as error:
        raise PlotsUnavailable("plots need matplotlib: pip install 'ivshmem-virtio[bench]'") from error
    # The same figures make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "ivshmem-virtio"
    # Letters stay letters: smaller, and they can be searched for.
    matplotlib.rcParams["svg.fonttype"] = "none"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suite in dict.fromkeys(row.suite for row in report.rows):
        rows = [row for row in report.rows if row.suite == suite][::-1]
        figure, axes = pyplot.subplots(figsize=(9, 1 + LINE_INCHES * len(rows)), layout="constrained")
        ratios = [row.ratio for row in rows]
        errors = [[row.ratio - min(row.spread.ratio[0], row.ratio) for row in rows]]
        errors.append([max(row.spread.ratio[1], row.ratio) - row.ratio for row in rows])
        colours = [BETTER if ratio >= 1 else WORSE for ratio in ratios]
        axes.barh([_label(row) for row in rows], ratios, xerr=errors, color=colours, ecolor="#555555", capsize=2)
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xlabel("times better than the peer (bars: medians, lines: least and most of all pairs)")
        axes.set_title(f"{suite}: {report.machine.processor}, Linux {report.versions.get('kernel', '?')}")
        written.append(folder / f"{suite}.svg")
        figure.savefig(written[-1], metadata={"Date": None})
        pyplot.close(figure)
        _name_licence(written[-1])
    return written


def _name_licence(file: Path) -> None:
    """Every file says under which licence it is, also one that may be committed; before the declaration nothing may."""
    declaration, rest = file.read_text("utf-8").split("\n", 1)
    lines = [declaration, "<!-- SPDX-License-Identifier: MIT -->", *(line.rstrip() for line in rest.splitlines())]
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _label(row: Row) -> str:
    return f"{row.case} / {row.peer_name}"
