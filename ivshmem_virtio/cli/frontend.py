# SPDX-License-Identifier: MIT
"""``ivshmem-virtio frontend``: drive a device of a region from user space, in the guest's place."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from ivshmem_virtio.cli.parameters import CONFIG_FILE, json_option
from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.link.layout import Capability, LinkLayout
from ivshmem_virtio.transport.driver.attach import FrontendPeer, choose_link, pci_peer, server_peer
from ivshmem_virtio.transport.driver.blk import BLK_DEVICE_ID, SECTOR, BlkDriver
from ivshmem_virtio.transport.driver.console import CONSOLE_DEVICE_ID, ConsoleDriver
from ivshmem_virtio.transport.driver.errors import WrongDevice
from ivshmem_virtio.transport.driver.rng import RNG_DEVICE_ID, RngDriver
from ivshmem_virtio.transport.driver.survey import survey
from ivshmem_virtio.transport.driver.transport import EVERYTHING, DriverTransport, brought_up
from ivshmem_virtio.transport.feature_names import device_type

Made = TypeVar("Made")
Peer = Callable[[], AbstractContextManager[FrontendPeer]]


@dataclass(frozen=True)
class Choice:
    """What the options of the group say."""

    peer: Peer
    link: str | None
    seconds: float
    force: bool
    capabilities: Capability
    host_placed: bool


class NoRegionNamed(IvshmemVirtioError):
    """Nothing says which region to drive, or several options do."""


@click.group()
@click.option("--socket", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="The server's socket.")
@click.option("--config", "config_file", type=CONFIG_FILE, metavar="CONFIG.toml", help="Take the socket from there.")
@click.option("--guest", metavar="NAME", help="Which guest of the configuration; needed when it has several.")
@click.option("--pci", metavar="ADDRESS|any", help="In a guest: use its ivshmem function, without a kernel driver.")
@click.option("--link", metavar="NAME|NUMBER", help="Which link; needed when several carry the same type of device.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True, help="Bound of each wait.")
@click.option("--force", is_flag=True, help="Take a link over although a front-end seems to use it.")
@click.option("--revision-1", is_flag=True, help="Behave as a driver of protocol revision 1.")
@click.option("--own-rings", is_flag=True, help="Place rings in own buffers, not where the host has room for them.")
@click.pass_context
def frontend(
    context: click.Context,
    socket: Path | None,
    config_file: Path | None,
    guest: str | None,
    pci: str | None,
    link: str | None,
    seconds: float,
    force: bool,
    revision_1: bool,
    own_rings: bool,
) -> None:
    """Drive a device from user space, in place of a guest.

    Joins the server as a peer of its own; the guest of that socket must not be running. With --pci, the other way
    round: runs in a guest, in place of its kernel module.
    """
    capabilities = Capability(0) if revision_1 else EVERYTHING
    peer = _peer(socket, config_file, guest, pci, seconds)
    context.obj = Choice(peer, link, seconds, force, capabilities, not own_rings)


def _peer(socket: Path | None, config_file: Path | None, guest: str | None, pci: str | None, seconds: float) -> Peer:
    if [socket, config_file, pci].count(None) == 2:
        if socket is not None:
            return partial(server_peer, socket, seconds)
        if config_file is not None:
            return partial(server_peer, _socket_of(config_file, guest), seconds)
        return partial(pci_peer, None if pci == "any" else pci, seconds)
    raise NoRegionNamed("name the region with one of --socket PATH, --config CONFIG.toml, --pci ADDRESS")


def _socket_of(config_file: Path, guest: str | None) -> Path:
    from ivshmem_virtio.service.config import load_config, select_guest

    return Path(select_guest(load_config(config_file, images=False), guest).socket)


def _driving(choice: Choice, peer: FrontendPeer, layout: LinkLayout) -> AbstractContextManager[DriverTransport]:
    link = peer.attach(layout, force=choice.force)
    return brought_up(link, peer_id=peer.peer_id, capabilities=choice.capabilities, seconds=choice.seconds)


@contextmanager
def _device(choice: Choice, device_id: int, driver: Callable[..., Made]) -> Iterator[Made]:
    """The driver of the chosen link, which must carry a device of this id."""
    with choice.peer() as peer:
        layout = choose_link(peer.links(), choice.link, device_id)
        if layout.device_id != device_id:
            raise WrongDevice(
                f"link {layout.name!r} carries a {device_type(layout.device_id)} device, not {device_type(device_id)}"
            )
        with _driving(choice, peer, layout) as transport:
            yield driver(transport, host_placed=choice.host_placed)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    for key, value in found.items():
        click.echo(f"{key}: {value}")


@frontend.command()
@json_option
@click.pass_obj
def info(choice: Choice, as_json: bool) -> None:
    """Show the links, and of each device its features, queues and configuration.

    Each device is brought up and reset again, so this is for regions that no guest uses.
    """
    with choice.peer() as peer:
        links = peer.links()
        chosen = links if choice.link is None else [choose_link(links, choice.link)]
        found = []
        for layout in chosen:
            with _driving(choice, peer, layout) as transport:
                found.append(survey(layout, transport))
    if as_json:
        click.echo(json.dumps({"peer": peer.peer_id, "links": found}))
    else:
        for link in found:
            _print_survey(link)


def _print_survey(link: dict[str, Any]) -> None:
    click.echo(f"{link['name']}: {link['device']}, window of {link['window']} bytes at {link['offset']:#x}")
    click.echo(f"  revision {link['revision']}, epoch {link['epoch']}, capabilities: {', '.join(link['capabilities'])}")
    click.echo(f"  features: {', '.join(link['features'])}")
    for queue in link["queues"]:
        click.echo(
            f"  queue {queue['index']}: {queue['size']} descriptors, back-end vector {queue['device_vector']}, "
            f"ring block at {queue['ring_block']}"
        )
    click.echo(f"  configuration: {link['configuration']}")


@frontend.group()
def blk() -> None:
    """Block devices."""


@blk.command("read")
@click.argument("sector", type=click.IntRange(0))
@click.argument("count", type=click.IntRange(1), default=1)
@click.option("-o", "--output", type=click.File("wb"), metavar="FILE", help="Write the data there; - is stdout.")
@json_option
@click.pass_obj
def blk_read(choice: Choice, sector: int, count: int, output: Any, as_json: bool) -> None:
    """Read COUNT sectors of 512 bytes from SECTOR on."""
    with _device(choice, BLK_DEVICE_ID, BlkDriver) as disk:
        data = disk.read(sector, count)
    if output is not None:
        output.write(data)
        return
    found: dict[str, Any] = {"sector": sector, "count": count, "sha256": hashlib.sha256(data).hexdigest()}
    if count == 1:
        found["hex"] = data.hex()
    _show(found, as_json)


@blk.command("write")
@click.argument("sector", type=click.IntRange(0))
@click.argument("source", type=click.File("rb"))
@json_option
@click.pass_obj
def blk_write(choice: Choice, sector: int, source: Any, as_json: bool) -> None:
    """Write the file SOURCE (- is stdin) from SECTOR on, filled up to whole sectors with zeros, and flush."""
    data = source.read()
    data += bytes(-len(data) % SECTOR)
    with _device(choice, BLK_DEVICE_ID, BlkDriver) as disk:
        if data:
            disk.write(sector, data)
        disk.flush()
    _show({"sector": sector, "count": len(data) // SECTOR, "sha256": hashlib.sha256(data).hexdigest()}, as_json)


@blk.command("id")
@json_option
@click.pass_obj
def blk_id(choice: Choice, as_json: bool) -> None:
    """Show serial number and size."""
    with _device(choice, BLK_DEVICE_ID, BlkDriver) as disk:
        _show({"serial": disk.identity(), "sectors": disk.capacity, "read_only": disk.read_only}, as_json)


@frontend.group()
def console() -> None:
    """Consoles."""


@console.command("echo")
@click.argument("text")
@json_option
@click.pass_obj
def console_echo(choice: Choice, text: str, as_json: bool) -> None:
    """Send TEXT and a line end, and show what comes back within the time of --seconds."""
    with _device(choice, CONSOLE_DEVICE_ID, ConsoleDriver) as port:
        port.send(text.encode() + b"\n")
        answer = port.receive(choice.seconds)
    _show({"sent": text, "received": answer.decode("utf-8", "replace").rstrip("\r\n")}, as_json)


@frontend.command()
@click.argument("count", type=click.IntRange(1, 1 << 24))
@click.option("--raw", is_flag=True, help="Write the bytes themselves to stdout.")
@json_option
@click.pass_obj
def rng(choice: Choice, count: int, raw: bool, as_json: bool) -> None:
    """Draw COUNT random bytes."""
    with _device(choice, RNG_DEVICE_ID, RngDriver) as source:
        data = source.read(count)
    if raw:
        sys.stdout.buffer.write(data)
    else:
        _show({"count": len(data), "hex": data.hex()}, as_json)
