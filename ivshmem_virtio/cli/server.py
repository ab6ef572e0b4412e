# SPDX-License-Identifier: MIT
"""``ivshmem-virtio server``: one region and its doorbells, in place of QEMU's example ivshmem-server."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from ivshmem_virtio.cli import server_options
from ivshmem_virtio.cli.parameters import verbose_option
from ivshmem_virtio.cli.server_options import Guest
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.memory.region import Region
from ivshmem_virtio.peer.server import IvshmemServer
from ivshmem_virtio.peer.unconfigured_links import UnconfiguredLinks
from ivshmem_virtio.service.descriptor_limit import allow_many_descriptors
from ivshmem_virtio.service.notify import Readiness
from ivshmem_virtio.service.size import format_size

log = logging.getLogger("ivshmem_virtio.server")


class NothingToListenOn(IvshmemVirtioError):
    """Neither an open socket nor a guest's was asked for."""


@dataclass(frozen=True)
class Settings:
    """The command line."""

    sockets: tuple[Path, ...]
    guests: tuple[Guest, ...]
    shm_name: str
    shm_folder: Path | None
    size: int
    vectors: int
    pid_file: Path | None
    mode: int
    owner: Owner | None
    keep: bool


@click.command()
@click.option(
    "-S",
    "--socket",
    "sockets",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Socket for any number of clients, each with a new peer id. May be given several times.",
)
@click.option(
    "--guest",
    "guests",
    multiple=True,
    metavar="NAME=PATH[,id=N][,vectors=N]",
    type=server_options.guest,
    help="Socket for one guest: one client at a time, always the same id (lowest free one by default) and eventfds. "
    "May be given several times.",
)
@click.option(
    "-M",
    "--shm-name",
    default="ivshmem",
    show_default=True,
    metavar="NAME",
    help="POSIX shared memory object, as in /dev/shm.",
)
@click.option(
    "-m",
    "--shm-dir",
    "shm_folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Use an unnamed file in DIR (such as a hugetlbfs mount) instead of a POSIX object.",
)
@click.option(
    "-l",
    "--size",
    default="4M",
    show_default=True,
    metavar="SIZE",
    type=server_options.size,
    help="Size of the region in bytes, or with K, M or G; a power of two.",
)
@click.option(
    "-n",
    "--vectors",
    default=1,
    show_default=True,
    metavar="N",
    type=int,
    help="Interrupt vectors of each peer; QEMU's vectors= is to be the same.",
)
@click.option(
    "-p",
    "--pidfile",
    "pid_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the process id to FILE once clients may connect; it is removed at the end.",
)
@click.option(
    "--mode",
    default="600",
    show_default=True,
    metavar="OCTAL",
    type=server_options.mode,
    help="Who may open sockets and region.",
)
@click.option("--owner", metavar="USER[:GROUP]", help="Owner of sockets and region; needs root.")
@click.option(
    "--keep",
    is_flag=True,
    help="Leave the shared memory object in place at the end, and go on with one that is there, contents and all.",
)
@verbose_option
def server(
    sockets: tuple[Path, ...],
    guests: tuple[Guest, ...],
    shm_name: str,
    shm_folder: Path | None,
    size: int,
    vectors: int,
    pid_file: Path | None,
    mode: int,
    owner: str | None,
    keep: bool,
    verbose: bool,
) -> None:
    """Hand out one region of shared memory and doorbells to its peers.

    Speaks the protocol of QEMU's example ivshmem-server, and does more: a guest has the same peer id whenever it comes
    back, a client that does not read keeps nobody waiting, and whoever dies is marked absent in the State Tables of the
    links that the region's directory names. It stays in the foreground and ends with SIGTERM or SIGINT.

    \b
      ivshmem-virtio server --guest web=/run/web.sock,vectors=8 -S /run/ivshmem.sock -l 64M -n 8
      qemu-system-x86_64 ... -chardev socket,id=iv,path=/run/web.sock
                             -device ivshmem-doorbell,chardev=iv,vectors=8
    """
    from ivshmem_virtio.service.log import configure_logging

    configure_logging(verbose)
    if not sockets and not guests:
        raise NothingToListenOn("nothing to listen on: give --guest NAME=PATH or --socket PATH")
    parsed_owner = Owner.parse(owner) if owner is not None else None
    settings = Settings(sockets, guests, shm_name, shm_folder, size, vectors, pid_file, mode, parsed_owner, keep)
    asyncio.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    allow_many_descriptors()
    with ExitStack() as cleanup:
        region = create_region(settings)
        cleanup.callback(region.close)
        if not settings.keep:
            cleanup.callback(region.unlink)
        ivshmem_server = IvshmemServer(region.memory, links=UnconfiguredLinks(region.memory))
        cleanup.callback(ivshmem_server.close)
        listen(ivshmem_server, settings)
        readiness = Readiness(settings.pid_file)
        readiness.ready(f"region of {format_size(region.size)}")
        cleanup.callback(readiness.stopping)
        log.info("READY: region of %s", format_size(region.size))
        await stop.wait()


def create_region(settings: Settings) -> Region:
    """The region that was asked for; raises RegionError of many kinds."""
    if settings.shm_folder is not None:
        return Region.create_in_folder(settings.shm_folder, settings.size)
    return Region.create(
        settings.shm_name, settings.size, mode=settings.mode, owner=settings.owner, keep_contents=settings.keep
    )


def listen(ivshmem_server: IvshmemServer, settings: Settings) -> None:
    """Open every socket; raises PeerError of many kinds."""
    taken = {guest.peer_id for guest in settings.guests}
    free = (number for number in range(len(settings.guests) * 2) if number not in taken)
    for guest in settings.guests:
        ivshmem_server.add_guest(
            guest.name,
            guest.path,
            next(free) if guest.peer_id is None else guest.peer_id,
            settings.vectors if guest.vectors is None else guest.vectors,
            mode=settings.mode,
            owner=settings.owner,
        )
    for path in settings.sockets:
        ivshmem_server.add_open_socket(path, settings.vectors, mode=settings.mode, owner=settings.owner)
