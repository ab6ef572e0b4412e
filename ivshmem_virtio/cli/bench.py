# SPDX-License-Identifier: MIT
"""``ivshmem-virtio bench``: figures of this machine, each beside that of a peer."""

from __future__ import annotations

from pathlib import Path

import click

from ivshmem_virtio.bench.registry import SUITES
from ivshmem_virtio.cli.output import wide_console

EXIT_INCOMPLETE = 1


@click.command()
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option("--quick", is_flag=True, help="The main rows only, in minutes.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write everything there that was measured.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/var/tmp",
    show_default=True,
    help="Where images for the measurements are made: a disk, for io_uring is at a loss on memory.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Draw a bar chart of each suite there, as SVG.",
)
def bench(suites: tuple[str, ...], quick: bool, json_file: Path | None, folder: Path, plots: Path | None) -> int:
    """Measure this machine: ours beside a peer, in turns, with the same load.

    Without SUITE, all of them. Needs two processors that nothing else uses.
    """
    from ivshmem_virtio.bench.session import measure
    from ivshmem_virtio.bench.table import table

    progress = wide_console()

    def failed(name: str, why: str) -> None:
        click.echo(f"{name}: not measured: {why}", err=True)

    with progress.status("measuring") as status:
        report = measure(
            suites,
            folder,
            quick=quick,
            on_row=lambda row: status.update(f"{row.suite}: {row.case}: {row.ratio:.2f}"),
            on_failure=failed,
        )
    if json_file is not None:
        json_file.write_text(report.model_dump_json(indent=1) + "\n")
    progress.print(table(report.rows))
    if plots is not None:
        from ivshmem_virtio.bench.plots import write_plots

        write_plots(report, plots)
    return EXIT_INCOMPLETE if report.failures else 0


bench.epilog = f"Suites: {', '.join(SUITES)}."
