# SPDX-License-Identifier: MIT
"""``ivshmem-virtio serve``: the service of one configuration."""

from __future__ import annotations

from pathlib import Path

import click

from ivshmem_virtio.cli.parameters import config_argument, verbose_option


@click.command()
@config_argument
@click.option("--check", is_flag=True, help="Check the configuration, print how it is laid out, and exit.")
@click.option(
    "--pidfile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the process id to FILE once guests may start; it is removed at the end.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append every chain of every queue to FILE, one line each; slow, for looking into one device.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of the running keeper of this service; its guests only see a pause.",
)
@click.option(
    "--afresh",
    is_flag=True,
    help="End what a dead keeper left running, instead of going on with it.",
)
@verbose_option
def serve(
    config_file: Path,
    check: bool,
    pidfile: Path | None,
    trace: Path | None,
    replace: bool,
    afresh: bool,
    verbose: bool,
) -> None:
    """Serve the devices of a configuration to its guests.

    Everything in CONFIG.toml is checked before anything starts. Then each guest gets a region of shared memory and a
    socket for QEMU's ivshmem-doorbell, and its devices are served until this process is told to end (SIGTERM, SIGINT).
    Guests may start before or after, and as often as they like. SIGHUP reads the file again and adds new guests.

    Where an earlier keeper of this service was killed, this one goes on with everything it had.
    """
    from ivshmem_virtio.service.config import load_config

    config = load_config(config_file)
    if check:
        from ivshmem_virtio.cli.plan_table import print_plans

        print_plans(config)
        return
    from ivshmem_virtio.service import keeper_process
    from ivshmem_virtio.service.log import configure_logging

    configure_logging(verbose)
    keeper_process.serve(
        config,
        source=config_file,
        pidfile=pidfile,
        trace_file=trace,
        verbose=verbose,
        replace=replace,
        afresh=afresh,
    )
