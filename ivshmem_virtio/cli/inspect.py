# SPDX-License-Identifier: MIT
"""``ivshmem-virtio inspect``: what lies in a live region, without touching it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from ivshmem_virtio.cli.output import wide_console
from ivshmem_virtio.cli.parameters import config_argument, json_option
from ivshmem_virtio.inspect.as_json import views_as_json
from ivshmem_virtio.inspect.as_text import print_guest
from ivshmem_virtio.inspect.guest_view import view_guest
from ivshmem_virtio.service.config import load_config, select_guest

LEAST_PAUSE = 1.0
"""Seconds between two looks of --watch."""


@click.command()
@config_argument
@click.argument("guest", required=False)
@json_option
@click.option(
    "--observe",
    metavar="SECONDS",
    type=click.FloatRange(0, 60),
    default=1.2,
    show_default=True,
    help="Look twice, so long apart, to see whether heartbeats and queues move; 0 looks once.",
)
@click.option("--watch", is_flag=True, help="Look again and again until interrupted; with --json one line each time.")
@click.option(
    "--region",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the region of the guest is, if somebody else's server keeps it (attach).",
)
def inspect(
    config_file: Path, guest: str | None, as_json: bool, observe: float, watch: bool, region: Path | None
) -> None:
    """Show what state a guest's devices are in, and who waits for whom.

    Reads the region of each guest of CONFIG.toml, or of GUEST alone, and changes nothing in it. Where everything lies
    follows from the configuration, never from the region. Negotiated features and queue addresses come from the status
    file of the running back-end; without one, only what the window shows is known, and said so.
    """
    config = load_config(config_file, images=False)
    chosen = config.guests if guest is None and region is None else (select_guest(config, guest),)
    while True:
        views = [view_guest(config, one, observe, region) for one in chosen]
        if as_json:
            click.echo(json.dumps(views_as_json(config.service.name, views), indent=None if watch else 2))
        else:
            console = wide_console()
            for view in views:
                print_guest(console, view)
        if not watch:
            return
        time.sleep(max(0.0, LEAST_PAUSE - observe))
