# SPDX-License-Identifier: MIT
"""``[[guest.device]]``: one model per device type; those of the larger ones have files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, StrictInt, StrictStr, Tag

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.config_blk import BlkConfig
from ivshmem_virtio.service.config_console import ConsoleConfig
from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_errors import ForeignDeviceUnusable
from ivshmem_virtio.service.config_fields import LARGEST_QUEUE, HostPath, QueueSize
from ivshmem_virtio.service.config_net import NetConfig
from ivshmem_virtio.service.size import is_power_of_two


class RngConfig(DeviceTable):
    """An entropy source."""

    default_window: ClassVar[int] = 256 << 10
    least_pool: ClassVar[int] = 16 << 10
    fills_queues: ClassVar[bool] = False

    type: Literal["rng"]
    source: HostPath = Path("/dev/urandom")
    bytes_per_second: Annotated[StrictInt, Field(ge=10)] | None = None
    queue_size: QueueSize = 64

    @property
    def shape(self) -> DeviceShape:
        return DeviceShape(4, (self.queue_size,), 0)


def _module_and_class(value: str) -> str:
    module, _, name = value.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError('must be "module:Class"')
    return value


class ForeignConfig(DeviceTable):
    """A device of somebody else: ``type = "module:Class"``, every further key goes to the class."""

    model_config = ConfigDict(extra="allow")
    default_window: ClassVar[int] = 1 << 20
    least_pool: ClassVar[int] = 16 << 10

    type: Annotated[StrictStr, AfterValidator(_module_and_class)]

    @property
    def shape(self) -> DeviceShape:
        """Asked of the class itself: nobody else knows. Raises ForeignDeviceUnusable."""
        from ivshmem_virtio.devices import registry

        where = f'device "{self.name}": type = "{self.type}"'
        try:
            device = registry.create(self.type, self.name, self.window or self.default_window, self.keys)
            shape = DeviceShape(device.device_id, tuple(device.queue_sizes), len(device.config))
        except IvshmemVirtioError as error:
            raise ForeignDeviceUnusable(f"{where}: {error}") from error
        except Exception as error:
            # Code of somebody else: whatever it raises is about this one key of the file.
            raise ForeignDeviceUnusable(f"{where}: {type(error).__name__}: {error}") from error
        if not all(is_power_of_two(size) and size <= LARGEST_QUEUE for size in shape.queue_sizes):
            raise ForeignDeviceUnusable(f"{where}: queue sizes {shape.queue_sizes} must be powers of two up to 32768")
        return shape


def _tag(data: Any) -> str | None:
    kind = data.get("type") if isinstance(data, dict) else getattr(data, "type", None)
    if not isinstance(kind, str):
        return None
    return "foreign" if ":" in kind else kind


DeviceConfig = Annotated[
    Annotated[BlkConfig, Tag("blk")]
    | Annotated[ConsoleConfig, Tag("console")]
    | Annotated[NetConfig, Tag("net")]
    | Annotated[RngConfig, Tag("rng")]
    | Annotated[ForeignConfig, Tag("foreign")],
    Discriminator(_tag),
]
DEVICE_TABLES: dict[str, type[DeviceTable]] = {
    "blk": BlkConfig,
    "console": ConsoleConfig,
    "net": NetConfig,
    "rng": RngConfig,
    "foreign": ForeignConfig,
}
