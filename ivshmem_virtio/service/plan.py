# SPDX-License-Identifier: MIT
"""Where the links of a guest lie in its region, which vectors they have, and which back-end serves each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ivshmem_virtio.link.layout import DIRECTORY_SIZE, LinkLayout
from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_errors import ConfigError, RegionTooSmall
from ivshmem_virtio.service.config_models import Config, GuestConfig
from ivshmem_virtio.service.config_net import NetConfig
from ivshmem_virtio.service.size import format_size, next_power_of_two
from ivshmem_virtio.service.window_size import least_window, reserved, window_size

BACKEND_PEER = 0
FRONTEND_PEER = 1
FIRST_SWITCH_PEER = 2


@dataclass(frozen=True)
class LinkPlan:
    """One link: where it lies, its device, and the switch that serves it (None: the guest's own back-end)."""

    layout: LinkLayout
    device: DeviceTable
    shape: DeviceShape
    switch: str | None

    @property
    def reserved(self) -> int:
        """Bytes of registers and rings at the start of the window, at most."""
        return reserved(self.shape)

    @property
    def least_window(self) -> int:
        """The smallest window this device could be given, in bytes."""
        return least_window(self.device, self.shape)

    @property
    def backend(self) -> str:
        """Who serves the link, in words."""
        return "back-end" if self.switch is None else f"switch {self.switch}"


@dataclass(frozen=True)
class RegionPlan:
    """The region of one guest. Sizes are bytes."""

    guest: str
    shared_memory: str
    size: int
    vectors: int
    links: tuple[LinkPlan, ...]

    @property
    def layouts(self) -> tuple[LinkLayout, ...]:
        return tuple(link.layout for link in self.links)

    @property
    def used(self) -> int:
        """First byte behind the last link."""
        return max((layout.end for layout in self.layouts), default=DIRECTORY_SIZE)


def plan(config: Config, guest: GuestConfig) -> RegionPlan:
    """The plan of one guest; raises RegionTooSmall, WindowTooSmall or ForeignDeviceUnusable."""
    shapes = [_shape(guest, device) for device in guest.devices]
    spans = share_vectors(guest.vectors, [len(shape.queue_sizes) for shape in shapes])
    links: list[LinkPlan] = []
    offset = DIRECTORY_SIZE
    for device, shape, (vector, count) in zip(guest.devices, shapes, spans, strict=True):
        switch = device.via.switch if isinstance(device, NetConfig) else None
        layout = LinkLayout(
            name=device.name,
            device_id=shape.device_id,
            offset=offset,
            rw_size=_window(guest, device, shape),
            frontend_vector=vector,
            frontend_vectors=count,
            backend_vector=vector,
            backend_vectors=count,
            backend_peer=BACKEND_PEER if switch is None else FIRST_SWITCH_PEER + config.switches.index(switch),
        )
        links.append(LinkPlan(layout, device, shape, switch))
        offset = layout.end
    made = RegionPlan(guest.name, config.shared_memory(guest), guest.region, guest.vectors, tuple(links))
    _check_room(made)
    return made


def plans(config: Config) -> tuple[RegionPlan, ...]:
    """The plans of all guests, in the order of the file; raises as ``plan`` does."""
    return tuple(plan(config, guest) for guest in config.guests)


def share_vectors(vectors: int, queues: Sequence[int]) -> list[tuple[int, int]]:
    """First vector and count for each link, given how many queues each has.

    Best is one for state and configuration and one for each queue. Where that does not fit, every link gets two, else
    one; where even that does not, links share vectors in turn.
    """
    for wanted in ([1 + count for count in queues], [2] * len(queues), [1] * len(queues)):
        if sum(wanted) <= vectors:
            return [(sum(wanted[:index]), count) for index, count in enumerate(wanted)]
    return [(index % vectors, 1) for index in range(len(queues))]


def _shape(guest: GuestConfig, device: DeviceTable) -> DeviceShape:
    try:
        return device.shape
    except ConfigError as error:
        raise type(error)(f'guest "{guest.name}", {error}') from error


def _window(guest: GuestConfig, device: DeviceTable, shape: DeviceShape) -> int:
    try:
        return window_size(device, shape)
    except ConfigError as error:
        raise type(error)(f'guest "{guest.name}", {error}') from None


def _check_room(made: RegionPlan) -> None:
    if made.used <= made.size:
        return
    parts = [f"directory {format_size(DIRECTORY_SIZE)}"]
    parts += [f"{link.layout.name} {format_size(link.layout.end - link.layout.offset)}" for link in made.links]
    enough = format_size(next_power_of_two(made.used))
    raise RegionTooSmall(
        f'guest "{made.guest}": region = "{format_size(made.size)}" is too small: {" + ".join(parts)} = '
        f'{format_size(made.used)}; set region = "{enough}" or smaller windows'
    )
