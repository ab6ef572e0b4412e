# SPDX-License-Identifier: MIT
"""``ivshmem-virtio attach``: serve one guest as an ordinary peer of somebody else's ivshmem server."""

from __future__ import annotations

from pathlib import Path

import click

from ivshmem_virtio.cli.parameters import config_argument, verbose_option


@click.command()
@config_argument
@click.option(
    "--socket",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Socket of the ivshmem server, such as QEMU's ivshmem-server; it decides the size of the region.",
)
@click.option("--guest", metavar="NAME", help="Which guest of the configuration; needed when it has several.")
@click.option(
    "--pidfile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the process id to FILE once the guest may start; it is removed at the end.",
)
@verbose_option
def attach(config_file: Path, socket: Path, guest: str | None, pidfile: Path | None, verbose: bool) -> None:
    """Serve a guest's devices behind somebody else's ivshmem server.

    The server hands out memory and doorbells; the layout and the devices come from CONFIG.toml, whose region size and
    vectors must be those of the server. Ends with SIGTERM or SIGINT.
    """
    from ivshmem_virtio.service.attach import attach as attach_guest
    from ivshmem_virtio.service.config import load_config, select_guest
    from ivshmem_virtio.service.log import configure_logging

    config = load_config(config_file)
    chosen = select_guest(config, guest)
    configure_logging(verbose)
    attach_guest(config, chosen, socket, pidfile=pidfile)
